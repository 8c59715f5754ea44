//! The regular expressions of the schemas. They are part of the API contract: an object is accepted by
//! these and nothing else.

/// A sequence of Go duration parts, such as `1h30m`, or the word `infinity` or `infinite`.
pub const TIMEOUT: &str = r"^(((\d*(\.\d*)?h)|(\d*(\.\d*)?m)|(\d*(\.\d*)?s)|(\d*(\.\d*)?ms)|(\d*(\.\d*)?us)|(\d*(\.\d*)?µs)|(\d*(\.\d*)?ns))+|infinity|infinite)$";

/// A sequence of Go duration parts, such as `1h30m`.
pub const DURATION: &str = r"^(((\d*(\.\d*)?h)|(\d*(\.\d*)?m)|(\d*(\.\d*)?s)|(\d*(\.\d*)?ms)|(\d*(\.\d*)?us)|(\d*(\.\d*)?µs)|(\d*(\.\d*)?ns))+)$";

/// A sequence of Go duration parts, or a bare `0`.
pub const DURATION_OR_ZERO: &str = r"^(((\d*(\.\d*)?h)|(\d*(\.\d*)?m)|(\d*(\.\d*)?s)|(\d*(\.\d*)?ms)|(\d*(\.\d*)?us)|(\d*(\.\d*)?µs)|(\d*(\.\d*)?ns))+|0)$";

/// A host name of lower-case DNS labels; the first label may be `*`.
pub const FQDN: &str = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// A host name of lower-case DNS labels.
pub const HOST_NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// One lower-case DNS label.
pub const DNS_LABEL: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

/// One lower-case DNS label, or `*` for all.
pub const NAMESPACE_OR_ALL: &str = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?|[*])$";

/// A repository of images; with a slash at its end all that are below it; `*` for all.
pub const IMAGE_REPOSITORY: &str = r"^([a-zA-Z0-9][-a-zA-Z0-9._:]*(\/[a-z0-9][-a-z0-9._]*)*\/?|[*])$";

/// A port, or two ports with a dash between them.
pub const HOST_PORTS: &str = r"^[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?$";

/// The characters of an HTTP token (RFC 9110, section 5.6.2).
pub const HTTP_TOKEN: &str = r"^[a-zA-Z0-9!#$%&'*+.^_`|~-]+$";

/// A text that starts with a slash.
pub const ABSOLUTE_PATH: &str = r"^\/.*$";

/// A decimal number that is not negative.
pub const DECIMAL: &str = r"^([0-9]+([.][0-9]+)?|[.][0-9]+)$";

/// The name of a cookie: no separators and no control characters.
pub const COOKIE_NAME: &str = r#"^[^()<>@,;:\\"\/[\]?={} \t\x7f\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f]+$"#;

/// The path attribute of a cookie: no semicolon and no control characters.
pub const COOKIE_PATH: &str = r"^[^;\x7f\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f]+$";

/// The type of a condition: a word, optionally prefixed by a DNS name and a slash.
pub const CONDITION_TYPE: &str = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$";

/// The reason of a condition: a word.
pub const CONDITION_REASON: &str = r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$";

/// A Go duration of whole hours, minutes and seconds, such as `8760h` or `1h30m`.
pub const GO_DURATION: &str = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$";

/// The characters of an IPv4 or an IPv6 address.
pub const IP_ADDRESS_CHARACTERS: &str = r"^[0-9a-fA-F.:]+$";

/// A key of a label or an annotation: a word, optionally prefixed by a DNS name and a slash. Without a backslash, so that it can be
/// part of a rule.
pub const QUALIFIED_NAME: &str = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]$";

/// A quantity of Kubernetes, such as `100m`, `1.5Gi` or `1e3`.
pub const QUANTITY: &str = r"^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)(([KMGTPE]i)|[numkMGTPE]|([eE][+-]?[0-9]+))?$";
