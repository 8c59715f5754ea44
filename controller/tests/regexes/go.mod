module contour-operator/regexes

go 1.24
