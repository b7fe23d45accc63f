//! Hosts as they are shown: a second agent of a name is shown as `name#id8`, which is not what it calls itself.

use std::borrow::Cow;

use canvass_protocol::filter::{Filter, Is, Test};
use canvass_protocol::target::{self, Facts, Target};
use canvass_protocol::value::{Truth, Value};

use crate::fleet::Endpoint;

/// Whether an endpoint is among those a target means, as far as the desk knows.
pub fn is_meant_for(target: &Target, endpoint: &Endpoint) -> bool {
    target
        .as_ref()
        .is_none_or(|filter| target::evaluate(filter, &as_shown(endpoint), Some(&endpoint.words)) == Truth::True)
}

/// An endpoint's facts, under the name that it is shown by.
pub fn as_shown(endpoint: &Endpoint) -> Cow<'_, Facts> {
    named(&endpoint.facts, &endpoint.host)
}

/// Facts under another name.
pub fn named<'a>(facts: &'a Facts, host: &str) -> Cow<'a, Facts> {
    if facts.name == host {
        return Cow::Borrowed(facts);
    }
    Cow::Owned(Facts { name: host.to_owned(), ..facts.clone() })
}

/// A target on what the server says of addresses becomes a list of agents: no agent can check what it does not know.
pub fn freeze(target: &mut Target, endpoints: &[Endpoint]) {
    let mut on_words = false;
    if let Some(filter) = target {
        filter.for_each_test(&mut |test| on_words |= test.column == "public_ip");
    }
    if on_words {
        let meant = endpoints.iter().filter(|endpoint| is_meant_for(target, endpoint));
        *target = Some(is_one_of(meant));
    }
}

/// A target becomes the list of those whom it means and who are certified: whoever else comes meanwhile is not asked, whatever
/// the server says.
pub fn only_certified(target: &mut Target, endpoints: &[Endpoint]) {
    let certified = endpoints.iter().filter(|endpoint| endpoint.standing.certified_by.is_some());
    let meant: Vec<&Endpoint> = certified.filter(|endpoint| is_meant_for(target, endpoint)).collect();
    *target = Some(is_one_of(meant.into_iter()));
}

/// A target on the names that are shown becomes one on the names that agents give themselves, and on the ids of those for
/// whom the two differ: agents judge themselves by what they know.
///
/// What holds for an agent under its own name holds for it under the name shown too, so the desk may judge by either.
pub fn by_own_names(target: &mut Target, endpoints: &[Endpoint]) {
    let renamed: Vec<&Endpoint> = endpoints.iter().filter(|endpoint| endpoint.host != endpoint.facts.name).collect();
    if let (Some(filter), false) = (target, renamed.is_empty()) {
        by_own_name(filter, &renamed);
    }
}

fn by_own_name(filter: &mut Filter, renamed: &[&Endpoint]) {
    match filter {
        Filter::All(parts) | Filter::Any(parts) => parts.iter_mut().for_each(|part| by_own_name(part, renamed)),
        Filter::Not(inner) => by_own_name(inner, renamed),
        Filter::Test(Test { column, .. }) if column == "name" => {
            let truth = |facts: &Facts| target::evaluate(filter, facts, None) == Truth::True;
            let by_own: Vec<bool> = renamed.iter().map(|endpoint| truth(&endpoint.facts)).collect();
            let by_shown: Vec<bool> = renamed.iter().map(|endpoint| truth(&as_shown(endpoint))).collect();
            let those = |wanted: (bool, bool)| {
                let pairs = renamed.iter().zip(by_own.iter().copied().zip(by_shown.iter().copied()));
                let ids: Vec<&Endpoint> =
                    pairs.filter(|(_, pair)| *pair == wanted).map(|(endpoint, _)| *endpoint).collect();
                (!ids.is_empty()).then(|| is_one_of(ids.into_iter()))
            };
            let (wrongly_in, wrongly_out) = (those((true, false)), those((false, true)));
            if let Some(wrongly_in) = wrongly_in {
                *filter = Filter::All(vec![filter.clone(), Filter::Not(Box::new(wrongly_in))]);
            }
            if let Some(wrongly_out) = wrongly_out {
                *filter = Filter::Any(vec![filter.clone(), wrongly_out]);
            }
        }
        Filter::Test(_) => {}
    }
}

/// Whether a target hangs on what agents say of themselves.
pub fn is_about_own_facts(target: &Filter) -> bool {
    let mut about = false;
    target.for_each_test(&mut |test| about |= target::is_own_fact(&test.column) != Some(false));
    about
}

fn is_one_of<'a>(endpoints: impl Iterator<Item = &'a Endpoint>) -> Filter {
    Filter::test("id", Is::In(endpoints.map(|endpoint| Value::Text(endpoint.facts.id.clone())).collect()))
}

#[cfg(test)]
mod tests {

    use canvass_protocol::filter::Pattern;
    use canvass_protocol::target::{ServerWords, Status};
    use jiff::Timestamp;

    use super::*;
    use crate::fleet::Standing;

    fn endpoint(id: &str, name: &str, host: &str) -> Endpoint {
        let at = Timestamp::UNIX_EPOCH;
        let facts = Facts {
            os: "linux".into(),
            arch: "x86_64".into(),
            version: "0".into(),
            started_at: at,
            ..Facts::of(id.repeat(64), name)
        };
        let words = ServerWords { status: Status::Online, heartbeat_at: at, public_ip: None };
        Endpoint { host: host.into(), facts: facts.into(), words, standing: Standing::default() }
    }

    #[test]
    fn agents_choose_as_the_desk_does() {
        let endpoints = [
            endpoint("a", "web-1", "web-1"),
            endpoint("b", "web-1", "web-1#bbbbbbbb"),
            endpoint("c", "web-1", "web-1#cccccccc"),
            endpoint("d", "db-1", "db-1"),
        ];
        let text = |text: &str| Value::Text(text.into());
        let pattern = |pattern: &str| Pattern { pattern: pattern.into(), ignore_case: false };
        let tests = [
            (Is::Equal(text("web-1")), "a"),
            (Is::Equal(text("web-1#bbbbbbbb")), "b"),
            (Is::NotEqual(text("web-1")), "bcd"),
            (Is::In(vec![text("db-1"), text("web-1#cccccccc")]), "cd"),
            (Is::Like(pattern("web-1")), "a"),
            (Is::Like(pattern("web-1#%")), "bc"),
            (Is::Matches(pattern("^web-1$")), "a"),
            (Is::Less(text("web-1")), "d"),
            (Is::Greater(text("web-1")), "bc"),
            (Is::Null, ""),
        ];
        let ids = |keeps: &dyn Fn(&Endpoint) -> bool| -> String {
            endpoints.iter().filter(|endpoint| keeps(endpoint)).map(|endpoint| &endpoint.facts.id[..1]).collect()
        };
        for (is, expected) in tests {
            for negated in [false, true] {
                let test = Filter::test("name", is.clone());
                let mut target = Some(if negated { Filter::Not(Box::new(test)) } else { test });
                by_own_names(&mut target, &endpoints);
                let expected = ids(&|endpoint| expected.contains(&endpoint.facts.id[..1]) != negated);
                let filter = target.clone().unwrap();
                let agents = ids(&|endpoint| target::evaluate(&filter, &endpoint.facts, None) == Truth::True);
                assert_eq!(agents, expected, "{is:?} {negated}");
                assert_eq!(ids(&|endpoint| is_meant_for(&target, endpoint)), expected, "{is:?} {negated}");
            }
        }
    }

    #[test]
    fn who_is_not_certified_is_not_meant() {
        let mut endpoints =
            [endpoint("a", "web-1", "web-1"), endpoint("b", "web-2", "web-2"), endpoint("c", "db-1", "db-1")];
        for (target, certified, expected) in [
            (None, "", ""),
            (None, "ab", "ab"),
            (Some(Filter::test("name", Is::NotEqual(Value::Text("web-1".into())))), "ab", "b"),
            (Some(Filter::test("name", Is::Equal(Value::Text("db-1".into())))), "ab", ""),
        ] {
            for endpoint in &mut endpoints {
                let is_certified = certified.contains(&endpoint.facts.id[..1]);
                endpoint.standing.certified_by = is_certified.then(|| "alice".to_owned());
            }
            let mut only = target.clone();
            only_certified(&mut only, &endpoints);
            let meant = endpoints.iter().filter(|endpoint| is_meant_for(&only, endpoint));
            let meant: String = meant.map(|endpoint| &endpoint.facts.id[..1]).collect();
            assert_eq!(meant, expected, "{target:?} {certified}");
        }
    }

    #[test]
    fn a_target_is_left_as_it_is_where_every_name_is_shown() {
        let endpoints = [endpoint("a", "web-1", "web-1"), endpoint("b", "db-1", "db-1")];
        let before = Some(Filter::test("name", Is::NotEqual(Value::Text("web-1".into()))));
        let mut target = before.clone();
        by_own_names(&mut target, &endpoints);
        assert_eq!(target, before);
    }
}
