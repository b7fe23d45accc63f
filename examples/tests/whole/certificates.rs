//! Certificates of servers, good and bad, as `openssl` makes them.

use std::path::Path;
use std::process::Command;

use crate::desk::stderr;

/// Makes two authorities, `ours.pem` and `theirs.pem`; keys `here.key`, of 127.0.0.1, and `there.key`, of another name; and
/// certificates by ours: `good.pem` and `expired.pem` for the one, `misnamed.pem` for the other.
pub fn make(folder: &Path) {
    let openssl = |arguments: &str| {
        let output = Command::new("openssl").args(arguments.split_whitespace()).current_dir(folder).output();
        let output = output.expect("`openssl` is there: `make tools`");
        assert!(output.status.success(), "{arguments}: {}", stderr(&output));
    };
    let new = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    for authority in ["ours", "theirs"] {
        openssl(&format!("{new} -subj /CN={authority} -x509 -days 30 -keyout {authority}.key -out {authority}.pem"));
    }
    for (name, address) in [("here", "IP:127.0.0.1"), ("there", "DNS:canvass.example")] {
        openssl(&format!("{new} -subj /CN={name} -addext subjectAltName={address} -keyout {name}.key -out {name}.csr"));
    }
    let sign = "x509 -req -CA ours.pem -CAkey ours.key -CAcreateserial -copy_extensions copy";
    for (name, request, days) in [("good", "here", 30), ("expired", "here", -1), ("misnamed", "there", 30)] {
        openssl(&format!("{sign} -in {request}.csr -days {days} -out {name}.pem"));
    }
}
