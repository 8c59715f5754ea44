// Judges regular expressions, one JSON string a line, as Go's regexp does: an empty line where it takes one, else what it says.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"regexp/syntax"
)

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for in.Scan() {
		var text, why string
		if err := json.Unmarshal(in.Bytes(), &text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if _, err := syntax.Parse(text, syntax.Perl); err != nil {
			why = string(err.(*syntax.Error).Code)
		}
		fmt.Fprintln(out, why)
	}
}
