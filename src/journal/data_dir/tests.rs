//! The lock on a data directory: one process at a time, and a clear word for the second.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

/// Where the second process of `a_second_process_is_told_who_holds_it` finds the directory.
const HELD_DIR: &str = "STAMPEDE_TEST_HELD_DIR";

#[test]
fn a_second_lock_is_refused_with_path_and_process() {
    // As the second process, the directory is the first one's; alone, it is our own.
    let own = tempfile::tempdir().unwrap();
    let (path, _first, pid) = match std::env::var(HELD_DIR) {
        Ok(held) => (PathBuf::from(held), None, std::os::unix::process::parent_id()),
        Err(_) => (own.path().to_owned(), Some(DataDir::lock(own.path()).unwrap()), std::process::id()),
    };
    let refused = DataDir::lock(&path).unwrap_err();
    let text = refused.to_string();
    assert!(text.contains(path.to_str().unwrap()) && text.contains(&format!("pid={pid}")), "{text}");
    assert!(matches!(refused, LockError::Held { .. }));
}

#[test]
fn a_second_process_is_told_who_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let first = DataDir::lock(dir.path()).unwrap();
    let second = |expected: bool| {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "journal::data_dir::tests::a_second_lock_is_refused_with_path_and_process"])
            .env(HELD_DIR, dir.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("1 passed") == expected, "{text}");
    };
    second(true);
    drop(first);
    second(false);
}

#[test]
fn a_lock_ends_with_its_value() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/on/the/way");
    drop(DataDir::lock(&path).unwrap());
    assert_eq!(DataDir::lock(&path).unwrap().path(), path);
}
