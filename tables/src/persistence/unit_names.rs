//! Names of systemd's units: types, templates, instances.

/// The types of units.
pub(super) const TYPES: &[&str] =
    &["service", "socket", "timer", "path", "target", "mount", "automount", "swap", "slice", "scope", "device"];

/// A unit's name in its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnitName<'a> {
    /// What stands before `@`, or before the type.
    pub prefix: &'a str,
    /// What stands between `@` and the type: nothing in a template; `None` where there is no `@`.
    pub instance: Option<&'a str>,
    pub kind: &'static str,
}

impl<'a> UnitName<'a> {
    /// Reads a name as systemd does; whatever else lies in its folders is no unit.
    pub fn parse(name: &'a str) -> Option<UnitName<'a>> {
        const LENGTH_MAX: usize = 255;
        let (before, kind) = name.rsplit_once('.')?;
        let kind = TYPES.iter().find(|known| **known == kind)?;
        let sound = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
        if name.len() > LENGTH_MAX || before.is_empty() || before.starts_with('@') || !before.bytes().all(sound) {
            return None;
        }
        let (prefix, instance) = match before.split_once('@') {
            Some((prefix, instance)) => (prefix, Some(instance)),
            None => (before, None),
        };
        Some(UnitName { prefix, instance, kind })
    }

    pub fn is_template(&self) -> bool {
        self.instance == Some("")
    }

    pub fn is_instance(&self) -> bool {
        self.instance.is_some_and(|instance| !instance.is_empty())
    }

    /// The template of an instance.
    pub fn template(&self) -> Option<String> {
        self.is_instance().then(|| self.with_instance(""))
    }

    /// The same with another instance.
    pub fn with_instance(&self, instance: &str) -> String {
        format!("{}@{instance}.{}", self.prefix, self.kind)
    }

    /// What drop-in folders for it are called, without their `.d`, most particular first: for `a-b@c.service` those of
    /// `a-b@c.service`, `a-b@.service`, `a-@c.service`, `a-@.service` and `service`.
    pub fn drop_in_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut prefix = self.prefix;
        loop {
            match self.instance {
                None => names.push(format!("{prefix}.{}", self.kind)),
                Some("") => names.push(format!("{prefix}@.{}", self.kind)),
                Some(instance) => {
                    names.push(format!("{prefix}@{instance}.{}", self.kind));
                    names.push(format!("{prefix}@.{}", self.kind));
                }
            }
            let shorter = prefix.trim_end_matches('-').rfind('-').and_then(|dash| prefix.get(..=dash));
            match shorter {
                Some(shorter) => prefix = shorter,
                None => break,
            }
        }
        names.push(self.kind.to_owned());
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn odd_names() {
        for name in [
            "",
            ".service",
            "service",
            "a.conf",
            "@.service",
            "a b.service",
            "\u{e9}.service",
            "a.Service",
            "a/b.service",
        ] {
            assert_eq!(UnitName::parse(name), None, "{name}");
        }
        let name = UnitName::parse("a-b@c@d.e.service").unwrap();
        assert_eq!((name.prefix, name.instance, name.kind), ("a-b", Some("c@d.e"), "service"));
        assert_eq!(name.template().as_deref(), Some("a-b@.service"));
        assert!(UnitName::parse("a@.timer").unwrap().is_template());
        let names = UnitName::parse("a-b-.slice").unwrap().drop_in_names();
        assert_eq!(names, ["a-b-.slice", "a-.slice", "slice"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        #[test]
        fn no_name_is_too_odd(name in "[-@a.\\\\\u{e9}]{0,12}(\\.service)?") {
            if let Some(parsed) = UnitName::parse(&name) {
                prop_assert!(parsed.drop_in_names().len() <= 2 * name.len());
            }
        }
    }
}
