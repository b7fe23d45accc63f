//! How files are read where a setting says so: inside compression, and behind links.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::desk::{Home, stdout, transcript};

#[test]
fn decompress_sees_inside_for_content_and_hashes() {
    let home = Home::new();
    let folder = home.path().join("logs");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("old.log"), "the needle is here\n").unwrap();
    assert!(Command::new("gzip").arg(folder.join("old.log")).status().unwrap().success());
    let ask = format!("SELECT name, sha256 FROM files WHERE path UNDER '{}' AND content ~ 'needle'", folder.display());
    let plain = home.canvass(&["-c", &ask]);
    assert_eq!(plain.status.code(), Some(0), "{}", transcript(&plain));
    assert_eq!(stdout(&plain), "name\tsha256\n");
    let inside = home.canvass(&["-c", "SET canvass.decompress = true", "-c", &ask]);
    assert_eq!(inside.status.code(), Some(0), "{}", transcript(&inside));
    // printf 'the needle is here\n' | sha256sum
    let digest = "ff72fae121d5e3c9df478d8541b0aca76511acc7b49b356cc40734abcce4df6e";
    assert_eq!(stdout(&inside), format!("name\tsha256\nold.log.gz\t{digest}\n"), "{}", transcript(&inside));
}

#[test]
fn follow_enters_folders_behind_links() {
    let home = Home::new();
    let (folder, elsewhere) = (home.path().join("here"), home.path().join("elsewhere"));
    fs::create_dir(&folder).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("found.txt"), "").unwrap();
    symlink(&elsewhere, folder.join("link")).unwrap();
    symlink(&folder, elsewhere.join("loop")).unwrap();
    let ask = format!("SELECT name FROM files WHERE path UNDER '{}' AND type = 'file'", folder.display());
    let plain = home.canvass(&["-c", &ask]);
    assert_eq!(stdout(&plain), "name\n", "{}", transcript(&plain));
    let followed = home.canvass(&["-c", "SET canvass.follow = true", "-c", &ask]);
    assert_eq!(followed.status.code(), Some(0), "{}", transcript(&followed));
    assert_eq!(stdout(&followed), "name\nfound.txt\n", "{}", transcript(&followed));
    let shown = home.canvass(&["-c", "SET canvass.follow = true", "-c", ".set follow"]);
    assert_eq!(stdout(&shown), "setting\tvalue\nfollow\ttrue\n", "{}", transcript(&shown));
}
