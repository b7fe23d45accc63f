//! The container a process runs in, as its control groups tell.

/// The longest name that is taken for one of a container.
const NAME_BYTES_MAX: usize = 64;
/// What stands before the number in the name of a group that systemd made.
const RUNTIMES: [&str; 7] = ["docker-", "cri-containerd-", "containerd-", "crio-", "libpod-", "nerdctl-", "buildkit-"];

/// Finds the container in the text of `/proc/PID/cgroup`: 64 hexadecimal digits, or the name of one of lxc's. Of containers in
/// one another it is the innermost.
pub(crate) fn id(cgroup: &str) -> Option<String> {
    // The number of the hierarchy, its controllers, and the group's path, which may hold colons.
    let paths = cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.filter_map(in_path).next()
}

fn in_path(path: &str) -> Option<String> {
    let mut names = path.rsplit('/').filter(|name| !name.is_empty()).peekable();
    while let Some(name) = names.next() {
        let of_lxc = name.strip_prefix("lxc.payload.").filter(|name| is_name(name));
        let below_lxc = || {
            let folder = names.peek().copied();
            Some(name).filter(|name| matches!(folder, Some("lxc" | "lxc.payload")) && is_name(name))
        };
        if let Some(found) = number(name).or(of_lxc).or_else(below_lxc) {
            return Some(found.to_owned());
        }
    }
    None
}

/// The number in a group's name: `<number>`, `docker-<number>.scope`, `pod-1.slice:cri-containerd:<number>`.
fn number(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let name = name.rsplit(':').next().unwrap_or(name);
    let name = RUNTIMES.iter().find_map(|runtime| name.strip_prefix(runtime)).unwrap_or(name);
    let is_number = name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_number.then_some(name)
}

fn is_name(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(known)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::id;

    const A: &str = "4f1c2a9be0d3475f8b6e1d2c3a4b5c6d7e8f90123456789abcdef0123456789a";
    const B: &str = "00000000000000000000000000000000000000000000000000000000000000ff";

    #[test]
    fn containers() {
        let cases = [
            (format!("0::/system.slice/docker-{A}.scope"), Some(A)),
            (format!("12:pids:/docker/{A}\n0::/"), Some(A)),
            (
                format!(
                    "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-{A}.scope"
                ),
                Some(A),
            ),
            (format!("3:cpu:/kubepods/burstable/pod12-34/{A}"), Some(A)),
            (format!("0::/kubepods-besteffort-pod1.slice:cri-containerd:{A}"), Some(A)),
            (format!("0::/kubepods.slice/pod1.slice/crio-{A}.scope/container"), Some(A)),
            (
                format!("0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope/container"),
                Some(A),
            ),
            (format!("0::/machine.slice/libpod-{A}.scope"), Some(A)),
            (format!("0::/libpod_parent/libpod-{A}"), Some(A)),
            (format!("0::/docker/{A}/kubelet/kubepods/pod1/{B}"), Some(B)),
            (format!("0::/lxc.payload.build-1/docker/{A}"), Some(A)),
            ("0::/lxc.payload.build-1/system.slice/nginx.service".to_owned(), Some("build-1")),
            ("4:memory:/lxc/web.1/init.scope".to_owned(), Some("web.1")),
            ("4:memory:/lxc.payload/web_1".to_owned(), Some("web_1")),
        ];
        for (text, expected) in cases {
            assert_eq!(id(&text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_container() {
        let cases = [
            String::new(),
            "0::/".to_owned(),
            "0".to_owned(),
            "0::/system.slice/docker.service".to_owned(),
            "0::/lxc".to_owned(),
            "0::/lxc/".to_owned(),
            "0::/lxc.monitor.build-1".to_owned(),
            "0::/lxc.payload.".to_owned(),
            "0::/lxc/a b".to_owned(),
            format!("0::/lxc/{}", "x".repeat(65)),
            format!("0::/machine.slice/libpod-conmon-{A}.scope"),
            format!("0::/crio-conmon-{A}.scope"),
            format!("0::/docker/{}", A.to_uppercase()),
            format!("0::/docker/{A}0"),
            format!("0::/docker/{}", &A[1..]),
            format!("0:/docker/{A}"),
        ];
        for text in cases {
            assert_eq!(id(&text), None, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn any_text_is_read(text in "([0-9]:[a-z]{0,3}:)?(/|lxc|lxc\\.payload\\.|docker-|:|\\.scope|[0-9a-f]{63,65}|\\PC{0,3}){0,12}") {
            if let Some(found) = id(&text) {
                prop_assert!(text.contains(&found) && !found.contains('/') && !found.is_empty());
            }
        }
    }
}
