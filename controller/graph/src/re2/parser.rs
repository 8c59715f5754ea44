//! The grammar outside of classes.

use super::cursor::Cursor;
use super::{Flaw, class, cost, escape};

/// The most often that RE2 repeats anything by count, nested counts multiplied.
const MOST_REPETITIONS: u64 = 1000;

/// Counts of more digits are not read as such: the brace is literal.
const LARGEST_COUNT: u64 = 100_000_000;

const BAD_OPERATOR: &str = "invalid perl operator";
const BAD_NAME: &str = "invalid named capture group";

/// Reads an expression, and returns the instructions of its program.
pub(super) fn parse(text: &str) -> Result<u64, Flaw> {
    let parser = Parser {
        cursor: Cursor::new(text),
        flags: Flags::default(),
        outer: Vec::new(),
        group: Group::default(),
        repetition: None,
    };
    parser.run()
}

/// The flags that change what is made of what follows.
#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    fold: bool,
}

/// Something that can be repeated.
#[derive(Clone, Copy, Debug)]
struct Item {
    /// Its instructions.
    cost: u64,
    /// How often its innermost part is repeated by count.
    repetitions: u64,
}

/// A group that is being read, or the whole expression.
#[derive(Debug, Default)]
struct Group {
    start: usize,
    captures: bool,
    /// The flags outside of it.
    flags: Flags,
    cost: u64,
    repetitions: u64,
    last: Option<Item>,
}

impl Group {
    /// Counts the last item, which nothing repeats any more.
    fn settle(&mut self) {
        if let Some(item) = self.last.take() {
            self.cost = self.cost.saturating_add(item.cost);
            self.repetitions = self.repetitions.max(item.repetitions);
        }
    }

    fn finish(mut self) -> Item {
        self.settle();
        // One for an empty alternative.
        let cost = self.cost.saturating_add(if self.captures { 3 } else { 1 });
        Item { cost, repetitions: self.repetitions.max(1) }
    }
}

struct Parser<'t> {
    cursor: Cursor<'t>,
    flags: Flags,
    outer: Vec<Group>,
    group: Group,
    /// Where the repetition operator begins that was read last, if nothing came after it.
    repetition: Option<usize>,
}

impl Parser<'_> {
    fn run(mut self) -> Result<u64, Flaw> {
        while let Some(c) = self.cursor.peek(0) {
            let start = self.cursor.at;
            let repetition = self.token(c)?;
            self.repetition = repetition.then_some(start);
        }
        if !self.outer.is_empty() {
            return Err(self.cursor.flaw_to_end("missing )", self.group.start));
        }
        Ok(self.group.finish().cost.saturating_add(cost::FRAME))
    }

    /// Reads what `c` begins, and tells whether that was a repetition operator.
    fn token(&mut self, c: u8) -> Result<bool, Flaw> {
        let start = self.cursor.at;
        match c {
            b'(' => self.open(start)?,
            b')' => self.close(start)?,
            b'|' => {
                self.cursor.next();
                self.group.settle();
                // A branch, and something in it where it is empty.
                self.group.cost = self.group.cost.saturating_add(3);
            }
            b'.' => {
                self.cursor.next();
                self.push(cost::DOT);
            }
            b'[' => {
                let cost = class::parse(&mut self.cursor, self.flags.fold)?;
                self.push(cost);
            }
            b'*' | b'+' | b'?' => {
                self.cursor.next();
                self.repeat(start, |item| Some(Item { cost: item.cost.saturating_add(2), ..item }))?;
                return Ok(true);
            }
            b'{' => {
                if let Some((least, most)) = self.counts() {
                    self.repeat_counted(start, least, most)?;
                    return Ok(true);
                }
                self.cursor.next();
                self.push(1);
            }
            b'\\' => self.escape()?,
            // A literal, or a place.
            _ => {
                self.cursor.next();
                self.push(1);
            }
        }
        Ok(false)
    }

    fn push(&mut self, cost: u64) {
        self.group.settle();
        self.group.last = Some(Item { cost, repetitions: 1 });
    }

    /// Repeats the last item, once the operator was read up to a `?` that makes it lazy.
    fn repeat(&mut self, start: usize, repeated: impl FnOnce(Item) -> Option<Item>) -> Result<(), Flaw> {
        self.cursor.take("?");
        if let Some(before) = self.repetition {
            return Err(self.cursor.flaw("bad repetition operator", before));
        }
        let Some(item) = self.group.last else {
            return Err(self.cursor.flaw("no argument for repetition operator", start));
        };
        let Some(repeated) = repeated(item) else {
            return Err(self.cursor.flaw("invalid repetition size", start));
        };
        self.group.last = Some(repeated);
        Ok(())
    }

    fn repeat_counted(&mut self, start: usize, least: u64, most: Option<u64>) -> Result<(), Flaw> {
        self.repeat(start, |item| {
            if most.is_some_and(|most| most < least) || most.unwrap_or(least) > MOST_REPETITIONS {
                return None;
            }
            let repetitions = item.repetitions * most.unwrap_or(least).max(1);
            if repetitions > MOST_REPETITIONS {
                return None;
            }
            let required = item.cost.saturating_mul(least);
            let cost = match most {
                None if least == 0 => item.cost.saturating_add(2),
                None => required.saturating_add(1),
                Some(0) => 1,
                Some(most) => {
                    required.saturating_add(item.cost.saturating_add(1).saturating_mul(most - least))
                }
            };
            Some(Item { cost, repetitions })
        })
    }

    /// Reads `{2}`, `{2,}` or `{2,3}`. Anything else in braces is literal.
    fn counts(&mut self) -> Option<(u64, Option<u64>)> {
        let mut cursor = self.cursor;
        cursor.next();
        let least = count(&mut cursor)?;
        let most = if !cursor.take(",") {
            Some(least)
        } else if cursor.peek(0) == Some(b'}') {
            None
        } else {
            Some(count(&mut cursor)?)
        };
        if !cursor.take("}") {
            return None;
        }
        self.cursor = cursor;
        Some((least, most))
    }

    fn open(&mut self, start: usize) -> Result<(), Flaw> {
        self.cursor.next();
        if !self.cursor.take("?") {
            self.begin(start, true, self.flags);
            return Ok(());
        }
        if self.cursor.take("P<") || self.cursor.take("<") {
            return self.named(start);
        }
        let outside = self.flags;
        let (mut negated, mut seen) = (false, false);
        loop {
            let flag = self.cursor.next().ok_or_else(|| self.cursor.flaw(BAD_OPERATOR, start))?;
            match flag {
                b'i' => self.flags.fold = !negated,
                b'm' | b's' | b'U' => {}
                b'-' if !negated => (negated, seen) = (true, false),
                b':' | b')' if !negated || seen => {
                    if flag == b':' {
                        self.begin(start, false, outside);
                    }
                    return Ok(());
                }
                _ => return Err(self.cursor.flaw(BAD_OPERATOR, start)),
            }
            seen |= flag != b'-';
        }
    }

    fn named(&mut self, start: usize) -> Result<(), Flaw> {
        if matches!(self.cursor.peek(0), Some(b'=' | b'!')) {
            self.cursor.next();
            return Err(self.cursor.flaw(BAD_OPERATOR, start));
        }
        let Some(name) = self.cursor.take_until(b'>') else {
            return Err(self.cursor.flaw_to_end(BAD_NAME, start));
        };
        if name.is_empty() || !name.iter().all(|&c| in_name(c)) {
            return Err(self.cursor.flaw(BAD_NAME, start));
        }
        self.begin(start, true, self.flags);
        Ok(())
    }

    fn begin(&mut self, start: usize, captures: bool, outside: Flags) {
        self.group.settle();
        let group = Group { start, captures, flags: outside, ..Group::default() };
        self.outer.push(std::mem::replace(&mut self.group, group));
    }

    fn close(&mut self, start: usize) -> Result<(), Flaw> {
        self.cursor.next();
        let Some(outer) = self.outer.pop() else { return Err(self.cursor.flaw("unexpected )", start)) };
        let group = std::mem::replace(&mut self.group, outer);
        self.flags = group.flags;
        self.group.last = Some(group.finish());
        Ok(())
    }

    fn escape(&mut self) -> Result<(), Flaw> {
        match self.cursor.peek(1) {
            Some(b'b' | b'B' | b'A' | b'z' | b'C') => {
                self.cursor.at += 2;
                self.push(1);
            }
            Some(b'Q') => {
                self.cursor.at += 2;
                self.quoted();
            }
            Some(b'p' | b'P') => {
                let cost = escape::unicode_group(&mut self.cursor)?;
                self.push(cost);
            }
            _ => {
                let class = escape::perl_class(&mut self.cursor);
                if class.is_none() {
                    escape::character(&mut self.cursor)?;
                }
                self.push(class.unwrap_or(1));
            }
        }
        Ok(())
    }

    /// Reads the literal text up to `\E`, or to the end.
    fn quoted(&mut self) {
        while !self.cursor.take("\\E") {
            if self.cursor.next().is_none() {
                break;
            }
            self.push(1);
        }
    }
}

/// Reads a count, without leading zeros.
fn count(cursor: &mut Cursor<'_>) -> Option<u64> {
    let digits = cursor.rest().iter().take_while(|c| c.is_ascii_digit()).count();
    let text = &cursor.rest()[..digits];
    if text.is_empty() || (digits > 1 && text[0] == b'0') {
        return None;
    }
    let mut value = 0;
    for digit in text {
        if value >= LARGEST_COUNT {
            return None;
        }
        value = value * 10 + u64::from(digit - b'0');
    }
    cursor.at += digits;
    Some(value)
}

/// Whether a capture name may have this character: the letters, digits and `_` of Latin-1.
fn in_name(c: u8) -> bool {
    c == b'_' || c.is_ascii_digit() || char::from(c).is_alphabetic()
}
