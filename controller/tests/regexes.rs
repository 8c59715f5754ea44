//! Our judgement of regular expressions against those of Envoy's RE2 and of Go's `regexp`, which reads the same grammar.
//!
//! The expressions are made from pieces at the edges of the grammar, with a fixed seed. `REGEXES=100000` judges so many (`make
//! fuzz-regex`), `REGEX_SEED` starts elsewhere.

mod support;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use contour_graph::re2::{self, Refused};
use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, NonForwardingAction, Route, RouteMatch, VirtualHost, route,
};
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher};

use support::judge::{Judge, Verdict};

/// What our bootstrap and runtime layer allow.
const LARGEST_PROGRAM: u32 = 1 << 20;

/// How many expressions go to Envoy in one table.
const BATCH: usize = 100;

/// What expressions are made of: every token of the grammar, and its neighbours that are none.
#[rustfmt::skip]
const PIECES: &[&str] = &[
    "a", "b", "/", "é", "世", "k", "-", "_", ",", ":", "=", "!", "<", ">", "&", "~", "#", " ", "\u{1}", "0", "7", "8",
    "10", "*", "+", "?", "*?", "+?", "??", "**", "|", "||", "^", "$", ".", "(", ")", "()", "(?", "(?:", "(?i)",
    "(?i:", "(?-i)", "(?s-m:", "(?U)", "(?x)", "(?i-)", "(?-)", "(?--i)", "(?)", "(?P<n>", "(?P<n.b>", "(?<n>",
    "(?P<>", "(?P<é9>", "(?P=n)", "(?'n'a)", "(?#c)", "(?=", "(?!", "(?<=", "(?<!", "(?>", "[", "]", "[]", "[^",
    "[^]", "[]]", "[a-", "[a-z]", "[z-a]", "[^a-zé-ü]", "[a-\\d]", "[\\w-.]", "[\\d-z]", "[--/]", "[[:", ":]",
    "[[:alpha:]]", "[[:^word:]]", "[[:foo:]]", "[:alpha:]", "[[:alpha:]-z]", "[\\pL]", "[\\p{^Greek}x]",
    "[\\x00-\\x{10FFFF}]", "[^\\x00-\\x{10FFFF}]", "[\\]\\-\\^]", "[\\b]", "[\\Qa]", "[\\Z]", "{", "}", "{}", "{,",
    "{,2}", "{0}", "{1}", "{2}", "{2}?", "{2,}", "{2,1}", "{0,1}", "{0,}", "{00}", "{01}", "{1,02}", "{999}",
    "{1000}", "{1001}", "{2,1000}", "{2,1001}", "{31}", "{32}", "{100}", "{99999999}", "{100000000}", "{1000000000}",
    "{4294967297}", "{2,x}", "{-1}", "{ 2}", "\\", "\\\\", "\\d", "\\D", "\\s", "\\S", "\\w", "\\W", "\\b", "\\B",
    "\\A", "\\z", "\\Z", "\\C", "\\G", "\\K", "\\R", "\\X", "\\h", "\\e", "\\c", "\\Q", "\\E", "\\Qa.b\\E", "\\Q\\E",
    "\\Q*", "\\a", "\\f", "\\n", "\\r", "\\t", "\\v", "\\0", "\\00", "\\07", "\\08", "\\1", "\\12", "\\18", "\\8",
    "\\9", "\\777", "\\x", "\\x4", "\\x41", "\\xg0", "\\x{", "\\x{}", "\\x{41}", "\\x{e9}", "\\x{ff}", "\\x{100}",
    "\\377", "\\400", "[á-a]", "[a-á]", "(?P<ê>", "(?<é>", "\\x{D800}", "\\x{10FFFF}", "\\x{110000}",
    "\\x{0000000041}", "\\x{4g}", "\\u0041", "\\U0001", "\\p", "\\pL", "\\pN", "\\pX", "\\p{", "\\p{}", "\\p{^}",
    "\\p{Lu}", "\\P{Lu}", "\\p{^Lu}", "\\p{Greek}", "\\p{Any}", "\\p{greek}", "\\p{LATIN}", "\\p{Letter}", "\\p{Foo}",
    "\\p{L", "\\p^L", "\\pé", "\\_", "\\-", "\\.", "\\/", "\\é", "\\ ", "\\<", "\\{", "\\}", "\\N", "\\o{7}",
    "(a{10}){100}", "(a{10}){101}", "((a{2}){3}){200}", "(?:a*)*", "(a|b|ab)", "(?i)straße", "(?i:[k-s])",
];

/// A generator of numbers: the same ones for a seed everywhere.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % most as u64).expect("below a usize")
    }
}

/// An expression: mostly whole pieces, sometimes with a character lost, doubled or in brackets.
fn expression(numbers: &mut Numbers) -> String {
    // Expressions of many pieces are nearly always wrong: short ones are more.
    let longest = 2 + numbers.below(8);
    let pieces = 1 + numbers.below(longest);
    let mut text: String = (0..pieces).map(|_| PIECES[numbers.below(PIECES.len())]).collect();
    match numbers.below(8) {
        0 => text = format!("({text})"),
        1 => text = format!("[{text}]"),
        2 => text = format!("(?:{text}){{{}}}", 1 + numbers.below(40)),
        3 => {
            let at = numbers.below(text.chars().count());
            text = text.chars().enumerate().filter(|(index, _)| *index != at).map(|(_, c)| c).collect();
        }
        4 => {
            let at = numbers.below(text.chars().count());
            let twice = |(index, c): (usize, char)| [c].repeat(if index == at { 2 } else { 1 });
            text = text.chars().enumerate().flat_map(twice).collect();
        }
        _ => {}
    }
    text
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn expressions() -> Vec<String> {
    let seed = number("REGEX_SEED", 0x5EED);
    println!("REGEX_SEED={seed}");
    let mut numbers = Numbers(seed | 1);
    let mut all: Vec<String> = PIECES.iter().map(|&piece| piece.to_owned()).collect();
    all.extend((0..number("REGEXES", 2000)).map(|_| expression(&mut numbers)));
    // Neither Envoy nor we are asked about nothing.
    all.retain(|text| !text.is_empty());
    all
}

/// A virtual host with one route for each of these conditions.
fn host(conditions: impl IntoIterator<Item = RouteMatch>) -> VirtualHost {
    let route = |condition| Route {
        r#match: Some(condition),
        action: Some(route::Action::NonForwardingAction(NonForwardingAction {})),
        ..Default::default()
    };
    VirtualHost {
        name: "judged".to_owned(),
        domains: vec!["judged.invalid".to_owned()],
        routes: conditions.into_iter().map(route).collect(),
        ..Default::default()
    }
}

/// A header's value matches, which takes the expression as it is.
fn condition(text: &str) -> RouteMatch {
    let regex = RegexMatcher { regex: text.to_owned(), ..Default::default() };
    let string = StringMatcher { match_pattern: Some(MatchPattern::SafeRegex(regex)), ..Default::default() };
    let header = HeaderMatcher {
        name: "x".to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(string)),
        ..Default::default()
    };
    RouteMatch {
        path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
        headers: vec![header],
        ..Default::default()
    }
}

async fn envoy_says(judge: &mut Judge, texts: &[&str]) -> Result<Verdict> {
    judge.routes(vec![host(texts.iter().map(|text| condition(text)))]).await
}

/// Those of the expressions that Envoy judges unlike us.
async fn envoy_differs(judge: &mut Judge, texts: &[String]) -> Result<Vec<String>> {
    let (mut taken, mut refused): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for text in texts {
        match re2::check(text) {
            Ok(_) => taken.push(text),
            // Stricter than Envoy, on purpose.
            Err(Refused::TooLong { .. } | Refused::TooLarge { .. }) => {}
            Err(Refused::Grammar { .. }) => refused.push(text),
        }
    }
    println!("taken: {}, refused: {}", taken.len(), refused.len());
    ensure!(taken.len().min(refused.len()) * 5 > texts.len(), "hardly any of one kind");
    let mut differing = Vec::new();
    for batch in taken.chunks(BATCH) {
        if envoy_says(judge, batch).await?.is_ok() {
            continue;
        }
        for text in batch {
            if let Err(why) = envoy_says(judge, &[text]).await? {
                differing.push(format!("{text:?} is taken, Envoy says {why}"));
            }
        }
    }
    for text in refused {
        if envoy_says(judge, &[text]).await?.is_ok() {
            let Err(why) = re2::check(text) else { continue };
            differing.push(format!("{text:?} is refused ({why}), Envoy takes it"));
        }
    }
    Ok(differing)
}

#[tokio::test]
async fn envoy_judges_expressions_as_we_do() -> Result<()> {
    let mut judge = Judge::start(LARGEST_PROGRAM).await?;
    let texts = expressions();
    let differing = envoy_differs(&mut judge, &texts).await?;
    assert!(differing.is_empty(), "{} of {} differ:\n{}", differing.len(), texts.len(), differing.join("\n"));
    println!("{} expressions, 0 differences", texts.len());
    Ok(())
}

/// The instructions that Envoy makes of an expression; its limit is zero.
async fn program_size(judge: &mut Judge, text: &str) -> Result<u64> {
    let refused = envoy_says(judge, &[text]).await?.err().context("the limit is zero")?;
    let size = refused.split("RE2 program size of ").nth(1).and_then(|rest| rest.split(' ').next());
    Ok(size.with_context(|| refused.clone())?.parse()?)
}

/// Our bound stands for RE2's own, so it must be above what Envoy counts; and not far above, lest it refuse what people use.
#[tokio::test]
async fn a_program_is_never_larger_than_we_say() -> Result<()> {
    let mut judge = Judge::start(0).await?;
    let mut wrong = Vec::new();
    let mut sums = (0, 0);
    for text in expressions().iter().take(1500) {
        let Ok(ours) = re2::check(text) else { continue };
        let envoy = program_size(&mut judge, text).await?;
        sums = (sums.0 + ours.instructions, sums.1 + envoy);
        if envoy > ours.instructions {
            wrong.push(format!("{text:?} has {envoy}, we say {}", ours.instructions));
        }
    }
    println!("we say {} in all, Envoy {}", sums.0, sums.1);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(sums.0 < sums.1 * 3, "we say {} in all, Envoy {}", sums.0, sums.1);
    Ok(())
}

/// Holds the table in `graph/src/re2/groups.rs`. `UPDATE_GROUPS=1` prints what it should say.
#[tokio::test]
async fn every_name_costs_what_envoy_says() -> Result<()> {
    let mut judge = Judge::start(0).await?;
    let mut wrong = Vec::new();
    for name in re2::group_names() {
        let mut most = 0;
        for form in ["", "(?i)"].iter().flat_map(|fold| ["p", "P"].map(|p| format!(r"{fold}\{p}{{{name}}}")))
        {
            most = most.max(program_size(&mut judge, &form).await?);
        }
        let ours = re2::check(&format!(r"\p{{{name}}}"))?.instructions;
        if std::env::var_os("UPDATE_GROUPS").is_some() {
            println!("    (\"{name}\", {most}),");
        } else if most > ours {
            wrong.push(format!("{name} has {most}, we say {ours}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Why Go's judgement may be another: what the two engines are known to do differently.
fn known_difference(text: &str, go: &str) -> Option<&'static str> {
    let long_count = text.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() >= 10);
    let differences = [
        (text.contains("\\C"), r"Go has no \C"),
        (go == "expression nests too deeply", "Go has a limit of its own"),
        (go == "expression too large", "Go has a limit of its own"),
        (!text.is_ascii(), "Envoy's RE2 reads bytes, as Latin-1"),
        (
            text.contains("\\x{") || text.contains("\\777") || text.contains("\\400"),
            "a character of more than a byte",
        ),
        (text.contains("\\p"), "the names of Unicode's classes are of another version, and Go has aliases"),
        (go == "invalid repeat count" && long_count, "RE2 takes a count of ten digits literally"),
    ];
    differences.into_iter().find(|(applies, _)| *applies).map(|(_, why)| why)
}

/// What Go says of each, empty where it takes one. `None` without Go.
fn go_says(texts: &[String]) -> Result<Option<Vec<String>>> {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/regexes");
    let run = Command::new("go")
        .args(["run", "."])
        .current_dir(tool)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut run = match run {
        Err(error) if std::env::var("ACCEPT_MISSING").is_ok_and(|missing| missing == "go") => {
            println!("left out: {error}");
            return Ok(None);
        }
        run => run.context("Go is needed; ACCEPT_MISSING=go leaves this out")?,
    };
    let mut input = run.stdin.take().context("piped")?;
    let lines: String =
        texts.iter().map(|text| serde_json::Value::from(text.as_str()).to_string() + "\n").collect();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = run.wait_with_output()?;
    writer.join().expect("writing does not panic")?;
    ensure!(output.status.success(), "go run failed");
    Ok(Some(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect()))
}

#[test]
fn go_judges_expressions_as_we_do() -> Result<()> {
    let texts = expressions();
    let Some(verdicts) = go_says(&texts)? else { return Ok(()) };
    assert_eq!(verdicts.len(), texts.len());
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    let mut differing = Vec::new();
    for (text, go) in texts.iter().zip(&verdicts) {
        let ours = match re2::check(text) {
            Err(Refused::TooLarge { .. } | Refused::TooLong { .. }) => continue,
            ours => ours,
        };
        if ours.is_ok() != go.is_empty() {
            match known_difference(text, go) {
                Some(why) => *known.entry(why).or_default() += 1,
                None => differing.push(format!("{text:?}: we say {ours:?}, Go says {go:?}")),
            }
        }
    }
    println!("{} expressions, known differences: {known:#?}", texts.len());
    assert!(differing.is_empty(), "{} differ:\n{}", differing.len(), differing.join("\n"));
    Ok(())
}
