//! The conditions of `?IF` and the values of `?SET`: comparisons, `!`, `&&`, `||` and parentheses
//! over variables, arguments, numbers and quoted words, and `passed()`. Shorewall hands them to Perl; this is the part of
//! Perl that configurations use.

use crate::session::{Session, argument, variable};
use crate::source::{Span, Word};

/// Parentheses and `!` may nest this deep.
const MAX_DEPTH: usize = 64;

/// Whether a condition holds; false after an error.
pub(crate) fn holds(session: &mut Session<'_>, condition: &Word) -> bool {
    if condition.is_empty() {
        session.error(
            condition.span(),
            "?IF needs a condition",
            "nothing here",
            "for example: ?IF $NAME",
        );
        return false;
    }
    value(session, condition).is_some_and(|value| truth(&value))
}

/// The value of an expression; `None` after an error.
pub(crate) fn value(session: &mut Session<'_>, expression: &Word) -> Option<String> {
    if expression.is_empty() {
        return Some(String::new());
    }
    let tokens = tokens(session, expression)?;
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        end: expression.span(),
    };
    match parser.either(0) {
        Ok(value) if parser.at == tokens.len() => Some(value),
        Ok(_) => {
            let span = tokens[parser.at].1;
            fail(session, span, "unexpected here");
            None
        }
        Err((span, label)) => {
            fail(session, span, label);
            None
        }
    }
}

fn fail(session: &mut Session<'_>, span: Span, label: &str) {
    session.error(
        span,
        "this expression is not understood",
        label,
        "supported: $NAME, numbers, 'words', == != < > eq ne ! && || ( ) passed() and __NAME",
    );
}

fn truth(value: &str) -> bool {
    !matches!(value, "" | "0")
}

fn logical(value: bool) -> String {
    if value { "1".to_owned() } else { String::new() }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Value(String),
    Operator(&'static str),
}

const OPERATORS: [&str; 11] = ["&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "(", ")"];

fn tokens(session: &mut Session<'_>, expression: &Word) -> Option<Vec<(Token, Span)>> {
    let text = expression.text();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(character) = text[at..].chars().next() {
        if character.is_whitespace() {
            at += character.len_utf8();
            continue;
        }
        let rest = &text[at..];
        let (token, length) = if let Some(operator) = operator(rest) {
            (Token::Operator(operator), operator.len())
        } else if let Some((number, length)) = matches!(character, '$' | '@')
            .then(|| argument(&rest[1..]))
            .flatten()
        {
            let arguments = session.arguments.as_deref().unwrap_or_default();
            let given = arguments.get(number - 1).map_or("", Word::text);
            let value = if given == "-" { "" } else { given };
            (Token::Value(value.to_owned()), length + 1)
        } else if character == '$' {
            let Some((name, length)) = variable(&rest[1..]) else {
                fail(
                    session,
                    expression.slice(at..at + 1).span(),
                    "a name must follow",
                );
                return None;
            };
            // As in Shorewall, a variable that is not set is empty in a condition.
            let value = session.variables.get(name).unwrap_or_default().to_owned();
            (Token::Value(value), length + 1)
        } else if character == '\'' || character == '"' {
            let Some(close) = rest[1..].find(character) else {
                fail(
                    session,
                    expression.slice(at..at + 1).span(),
                    "this quote is not closed",
                );
                return None;
            };
            (Token::Value(rest[1..=close].to_owned()), close + 2)
        } else {
            let length = rest
                .find(|c: char| {
                    !(c.is_alphanumeric() || matches!(c, '_' | '.' | ':' | '/' | '-' | ','))
                })
                .unwrap_or(rest.len())
                .max(character.len_utf8());
            let word = &rest[..length];
            let span = expression.slice(at..at + length).span();
            let value = match word {
                "__IPV4" => "1".to_owned(),
                "__IPV6" => String::new(),
                _ if word.starts_with("__") => capability(session, span, word)?,
                _ if word.starts_with(|c: char| c.is_alphanumeric() || c == '-') => word.to_owned(),
                _ => {
                    fail(session, span, "not understood");
                    return None;
                }
            };
            (Token::Value(value), length)
        };
        tokens.push((token, expression.slice(at..at + length).span()));
        at += length;
    }
    Some(tokens)
}

/// `__NAME`: what the site's file `capabilities` says of the kernel that it was written for.
fn capability(session: &mut Session<'_>, span: Span, word: &str) -> Option<String> {
    let name = word.trim_start_matches('_');
    let Some(capabilities) = &session.capabilities else {
        let file = session.shorewall_file("capabilities").display().to_string();
        session.error(
            span,
            format!("`{word}` asks what the Linux kernel can do"),
            "there is no Linux kernel here",
            format!("as on the Linux host: shorewall show -f capabilities > {file}"),
        );
        return None;
    };
    // A capability that is not there is one that the kernel does not have.
    let value = capabilities.get(name).map_or("", String::as_str);
    Some(if value == "Yes" { "1" } else { value }.to_owned())
}

fn operator(rest: &str) -> Option<&'static str> {
    for word in ["eq", "ne", "lt", "gt", "passed"] {
        if let Some(after) = rest.strip_prefix(word)
            && !after.starts_with(|c: char| c.is_alphanumeric() || c == '_')
        {
            return Some(word);
        }
    }
    OPERATORS
        .into_iter()
        .find(|operator| rest.starts_with(operator))
}

struct Parser<'t> {
    tokens: &'t [(Token, Span)],
    at: usize,
    end: Span,
}

type Parsed = Result<String, (Span, &'static str)>;

impl Parser<'_> {
    fn take(&mut self, wanted: &[&'static str]) -> Option<&'static str> {
        if let Some((Token::Operator(operator), _)) = self.tokens.get(self.at)
            && wanted.contains(operator)
        {
            self.at += 1;
            return Some(operator);
        }
        None
    }

    fn either(&mut self, depth: usize) -> Parsed {
        let mut left = self.both(depth)?;
        while self.take(&["||"]).is_some() {
            let right = self.both(depth)?;
            left = logical(truth(&left) || truth(&right));
        }
        Ok(left)
    }

    fn both(&mut self, depth: usize) -> Parsed {
        let mut left = self.comparison(depth)?;
        while self.take(&["&&"]).is_some() {
            let right = self.comparison(depth)?;
            left = logical(truth(&left) && truth(&right));
        }
        Ok(left)
    }

    fn comparison(&mut self, depth: usize) -> Parsed {
        let left = self.unary(depth)?;
        let Some(operator) = self.take(&["==", "!=", "<=", ">=", "<", ">", "eq", "ne", "lt", "gt"])
        else {
            return Ok(left);
        };
        let right = self.unary(depth)?;
        // Perl: what is not a number counts as 0 in `==`; that would be silently surprising for
        // words, so words compare as words.
        let numbers = left.parse::<i64>().ok().zip(right.parse::<i64>().ok());
        let order = match (operator, numbers) {
            ("eq" | "ne" | "lt" | "gt", _) | (_, None) => left.cmp(&right),
            (_, Some((left, right))) => left.cmp(&right),
        };
        Ok(logical(match operator {
            "==" | "eq" => order.is_eq(),
            "!=" | "ne" => order.is_ne(),
            "<" | "lt" => order.is_lt(),
            ">" | "gt" => order.is_gt(),
            "<=" => order.is_le(),
            _ => order.is_ge(),
        }))
    }

    fn unary(&mut self, depth: usize) -> Parsed {
        let here = self.tokens.get(self.at).map_or(self.end, |token| token.1);
        if depth > MAX_DEPTH {
            return Err((here, "nested too deeply"));
        }
        if self.take(&["!"]).is_some() {
            return Ok(logical(!truth(&self.unary(depth + 1)?)));
        }
        if self.take(&["passed"]).is_some() {
            // 0 is an argument, too.
            return Ok(logical(!self.unary(depth + 1)?.is_empty()));
        }
        if self.take(&["("]).is_some() {
            let value = self.either(depth + 1)?;
            return match self.take(&[")"]) {
                Some(_) => Ok(value),
                None => Err((here, "this parenthesis is not closed")),
            };
        }
        match self.tokens.get(self.at) {
            Some((Token::Value(value), _)) => {
                self.at += 1;
                Ok(value.clone())
            }
            _ => Err((here, "a value is missing")),
        }
    }
}
