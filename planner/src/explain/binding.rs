//! What of a target binds agents: what the server says of them they cannot check.

use std::collections::BTreeSet;

use canvass_protocol::action::Action;
use canvass_protocol::filter::Filter;
use canvass_protocol::target::is_own_fact;

/// For whoever is to sign an action: whom its scans can reach whatever the server says, a sentence for each target.
pub fn binding(action: &Action) -> Vec<String> {
    let mut sentences: Vec<(String, Vec<usize>)> = Vec::new();
    for (index, scan) in action.scans.iter().enumerate() {
        let sentence = sentence(&action.fleet, scan.target.as_ref());
        match sentences.iter_mut().find(|(other, _)| *other == sentence) {
            Some((_, scans)) => scans.push(index + 1),
            None => sentences.push((sentence, vec![index + 1])),
        }
    }
    let one = sentences.len() == 1;
    let line = |(sentence, scans): (String, Vec<usize>)| {
        let numbers = scans.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        if one { sentence } else { format!("scan {numbers}: {sentence}") }
    };
    sentences.into_iter().map(line).collect()
}

fn sentence(fleet: &str, target: Option<&Filter>) -> String {
    let agents = match target.and_then(binds) {
        Some(filter) => format!("any agent of fleet {fleet} with {filter}"),
        None => format!("any agent of fleet {fleet}"),
    };
    let words = target.map(words).unwrap_or_default();
    match words.len() {
        0 => agents,
        _ => format!("{agents}; {} {} the server's word", join(&words), if words.len() == 1 { "is" } else { "are" }),
    }
}

fn join(words: &BTreeSet<String>) -> String {
    words.iter().cloned().collect::<Vec<_>>().join(" and ")
}

/// The facts of a target that the server says.
fn words(target: &Filter) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    target.for_each_test(&mut |test| {
        if is_own_fact(&test.column) == Some(false) {
            words.insert(test.column.clone());
        }
    });
    words
}

/// What an agent can check of a target, whatever the rest is; nothing where the rest may let it in by itself.
fn binds(target: &Filter) -> Option<Filter> {
    match target {
        Filter::All(parts) => {
            let mut parts: Vec<Filter> = parts.iter().filter_map(binds).collect();
            match parts.len() {
                0 | 1 => parts.pop(),
                _ => Some(Filter::All(parts)),
            }
        }
        other => words(other).is_empty().then(|| other.clone()),
    }
}

#[cfg(test)]
mod tests {
    use canvass_protocol::filter::Is;
    use canvass_protocol::value::Value;

    use super::*;

    #[test]
    fn what_the_server_says_binds_nobody() {
        let is = |column: &str, value: &str| Filter::test(column, Is::Equal(Value::Text(value.into())));
        let (linux, online) = (is("os", "linux"), is("status", "online"));
        let later = is("heartbeat_at", "x");
        let cases = [
            (None, "any agent of fleet acme"),
            (Some(linux.clone()), "any agent of fleet acme with os = 'linux'"),
            (Some(online.clone()), "any agent of fleet acme; status is the server's word"),
            (
                Some(Filter::All(vec![linux.clone(), online.clone()])),
                "any agent of fleet acme with os = 'linux'; status is the server's word",
            ),
            (
                Some(Filter::Any(vec![linux.clone(), online.clone()])),
                "any agent of fleet acme; status is the server's word",
            ),
            (
                Some(Filter::All(vec![
                    linux.clone(),
                    is("tags.team", "web"),
                    Filter::Not(Box::new(Filter::Any(vec![online, later]))),
                ])),
                "any agent of fleet acme with os = 'linux' AND tags.team = 'web'; heartbeat_at and status are the server's word",
            ),
            (
                Some(Filter::Any(vec![linux, is("tags.team", "web")])),
                "any agent of fleet acme with os = 'linux' OR tags.team = 'web'",
            ),
        ];
        for (target, expected) in cases {
            assert_eq!(sentence("acme", target.as_ref()), expected);
        }
    }
}
