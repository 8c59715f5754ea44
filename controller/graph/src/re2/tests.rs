use rstest::rstest;

use super::*;

#[rstest]
#[case("")]
#[case("/[a-z]+(/.*)?")]
#[case("/a{2}/b{2,}/c{2,3}")]
#[case("/users/{id}/{")]
#[case("a{,2}")]
#[case("a{02}")]
#[case("a{1000}")]
#[case("a{0,1000}")]
#[case("a{10000000000}")]
#[case("(a{10}){100}")]
#[case("((a{0}){1000}){0,1}")]
#[case("/[[]x[^[]*[]][^]]+")]
#[case("/[[:alpha:]_&&~~-]+")]
#[case(r"[\w-.]+")]
#[case(r"[a-z\d-_]+")]
#[case("[[:foo]]")]
#[case("[+-[:x]")]
#[case(r"\d\pL\p{Greek}\p{^Lu}\P{Any}\x{41}\.\/\-\]\_")]
#[case(r"\x{e9}\x{0000ff}\x7f\0\012\08\377")]
#[case(r"\a\f\t\n\r\v\A\z\b\B\C")]
#[case(r"\Q(*[\E+")]
#[case(r"\Qnot ended\")]
#[case(r"a*\Q\E*")]
#[case("a*(?i)*")]
#[case("a*?b+?c??d{2}?")]
#[case("(?:a*)*")]
#[case("(|a)*|()")]
#[case("(?i)a(?:b)(?P<name>c)(?<other>c)(?s-im:d)(?)(?U:a)(?-s)")]
#[case("(?P<naêve_9>x)(?P<9>y)(?P<9>z)")]
#[case("[é-ü]")]
#[case("é+")]
fn what_re2_takes_is_taken(#[case] text: &str) {
    assert!(check(text).is_ok(), "{text}: {:?}", check(text));
}

#[rstest]
#[case("(", "missing ) \"(\" at byte 0")]
#[case("a(b(c)", "missing ) \"(b(c)\" at byte 1")]
#[case("a)", "unexpected ) \")\" at byte 1")]
#[case("[", "missing ] \"[\" at byte 0")]
#[case("[]", "missing ] \"[]\" at byte 0")]
#[case("[a-", "missing ] \"[a-\" at byte 0")]
#[case("[z-a]", "invalid character class range \"z-a\" at byte 1")]
#[case("[a-[:digit:]]", "invalid character class range \"a-[\" at byte 1")]
#[case(r"[a-\d]", "invalid escape sequence \"\\d\" at byte 3")]
#[case("/[[:foo:]]", "invalid character class range \"[:foo:]\" at byte 2")]
#[case("*", "no argument for repetition operator \"*\" at byte 0")]
#[case("a|+", "no argument for repetition operator \"+\" at byte 2")]
#[case("(?:{2})", "no argument for repetition operator \"{2}\" at byte 3")]
#[case("/a**", "bad repetition operator \"**\" at byte 2")]
#[case("/a++", "bad repetition operator \"++\" at byte 2")]
#[case("a{2}{3}", "bad repetition operator \"{2}{3}\" at byte 1")]
#[case("a{2}??", "bad repetition operator \"{2}??\" at byte 1")]
#[case("a{1001}", "invalid repetition size \"{1001}\" at byte 1")]
#[case("a{1,1001}", "invalid repetition size \"{1,1001}\" at byte 1")]
#[case("a{3,2}", "invalid repetition size \"{3,2}\" at byte 1")]
#[case("a{2,999999999}", "invalid repetition size \"{2,999999999}\" at byte 1")]
#[case("/(a{500}){500}", "invalid repetition size \"{500}\" at byte 9")]
#[case("((a{10,}){11}){10}", "invalid repetition size \"{10}\" at byte 14")]
#[case("(?x) a", "invalid perl operator \"(?x\" at byte 0")]
#[case("(?i-)a", "invalid perl operator \"(?i-)\" at byte 0")]
#[case("(?--i)a", "invalid perl operator \"(?--\" at byte 0")]
#[case("(?=a)", "invalid perl operator \"(?=\" at byte 0")]
#[case("(?<!a)", "invalid perl operator \"(?<!\" at byte 0")]
#[case("(?i", "invalid perl operator \"(?i\" at byte 0")]
#[case("(?P=a)", "invalid perl operator \"(?P\" at byte 0")]
#[case("/(?P<a.b>x)", "invalid named capture group \"(?P<a.b>\" at byte 1")]
#[case("(?<>x)", "invalid named capture group \"(?<>\" at byte 0")]
#[case("(?P<a", "invalid named capture group \"(?P<a\" at byte 0")]
#[case(r"\u0041", "invalid escape sequence \"\\u\" at byte 0")]
#[case(r"(a)\1", "invalid escape sequence \"\\1\" at byte 3")]
#[case(r"\8", "invalid escape sequence \"\\8\" at byte 0")]
#[case(r"\é", "invalid escape sequence \"\\\u{fffd}\" at byte 0")]
#[case(r"\Z", "invalid escape sequence \"\\Z\" at byte 0")]
#[case(r"\x{100}", "invalid escape sequence \"\\x{100\" at byte 0")]
#[case(r"\400", "invalid escape sequence \"\\400\" at byte 0")]
#[case("(?P<é>x)", "invalid named capture group \"(?P<é>\" at byte 0")]
#[case("[á-a]", "invalid character class range \"\u{fffd}-a\" at byte 2")]
#[case(r"\x{}", "invalid escape sequence \"\\x{}\" at byte 0")]
#[case(r"\x4", "invalid escape sequence \"\\x4\" at byte 0")]
#[case(r"\p{Letter}", "invalid character class range \"\\p{Letter}\" at byte 0")]
#[case(r"\pé", "invalid character class range \"\\p\u{fffd}\" at byte 0")]
#[case(r"\p", "invalid character class range \"\\p\" at byte 0")]
#[case(r"\p{Lu", "invalid character class range \"\\p{Lu\" at byte 0")]
#[case("a\\", "trailing \\ at end of expression \"\\\" at byte 1")]
fn what_re2_refuses_is_refused(#[case] text: &str, #[case] why: &str) {
    let expected = format!("regular expression \"{text}\" does not compile: {why}");
    assert_eq!(check(text).expect_err(text).to_string(), expected);
}

#[test]
fn every_name_is_found() {
    assert!(groups::GROUPS.is_sorted_by_key(|(name, _)| name));
    assert!(group_names().all(|name| check(&format!(r"\p{{{name}}}[\P{{{name}}}]")).is_ok()));
}

/// An expression of a few bytes that costs every Envoy five megabytes is not worth them.
#[rstest]
#[case(r"(?:[b-d\w/]{10}[é-ü]x){99}(?:.{90}){10}\PL{1000}")]
#[case(r"(?:\PP{30}){30}")]
#[case("(?:abcdefghij|klmnopqrst|uvwxyz){1000}")]
fn a_large_program_is_refused(#[case] text: &str) {
    assert!(matches!(check(text), Err(Refused::TooLarge { .. })), "{text}: {:?}", check(text));
}

#[test]
fn a_long_expression_is_refused_and_not_repeated() {
    assert!(check(&"a".repeat(LONGEST_REGEX)).is_ok());
    let error = check(&"é".repeat(200_000)).unwrap_err();
    assert!(matches!(error, Refused::TooLong { length: 400_000, .. }));
    assert!(error.to_string().len() < 300, "{error}");
    let error = check(&"(".repeat(LONGEST_REGEX)).unwrap_err().to_string();
    assert!(error.len() < 600, "{error}");
}

/// What is nested or repeated as deeply as the length allows takes no stack and little time.
#[test]
fn hostile_expressions_are_judged() {
    let half = LONGEST_REGEX / 2;
    assert!(check(&("(".repeat(half) + &")".repeat(half))).is_ok());
    assert!(check(&"[[:".repeat(LONGEST_REGEX / 3)).is_err());
    assert!(check(&("[".to_owned() + &"[:".repeat(half - 8) + "x]")).is_ok());
    assert!(check(&("(a*".repeat(half / 3) + &")*".repeat(half / 3))).is_ok());
    assert!(check(&"(a{2}".repeat(half / 5)).is_err());
}
