//! What a process's `cgroup` file says: where in the hierarchy it is.

/// The process's path in the unified hierarchy, else in systemd's, else in the first.
pub(crate) fn path(text: &str) -> Option<&str> {
    let lines = || text.lines().filter_map(split);
    let of = |wanted: fn(&str, &str) -> bool| {
        lines().find(|(number, controllers, path)| wanted(number, controllers) && path.len() > 1)
    };
    let found = of(|number, _| number == "0").or_else(|| of(|_, controllers| controllers == "name=systemd"));
    found.or_else(|| lines().next()).map(|(_, _, path)| path)
}

/// `NUMBER:CONTROLLERS:PATH`, whose path may hold colons.
fn split(line: &str) -> Option<(&str, &str, &str)> {
    let mut parts = line.splitn(3, ':');
    let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    path.starts_with('/').then_some((number, controllers, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_the_hierarchy_that_says_most() {
        let cases = [
            ("0::/system.slice/ssh.service\n", Some("/system.slice/ssh.service")),
            ("4:memory:/m\n1:name=systemd:/system.slice/cron.service\n0::/\n", Some("/system.slice/cron.service")),
            ("4:memory:/m:n\n", Some("/m:n")),
            ("0::/", Some("/")),
            ("x", None),
            ("::\n1:x:y\n", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(path(text), expected, "{text}");
        }
    }
}
