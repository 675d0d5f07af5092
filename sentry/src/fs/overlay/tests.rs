use super::*;
use crate::usermem::{KernelSink, KernelSource};
use crate::vfs::{Caller, File, Inode, KernelCaller, OpenFlags, RenameFlags};

const CX: &KernelCaller = &KernelCaller;

fn write(i: &InodeRef, text: &[u8]) {
    let f = File::new(
        i.clone().open(CX, OpenFlags::WRONLY).unwrap(),
        i.clone(),
        None,
        OpenFlags::WRONLY,
    );
    f.ops()
        .write(&f, CX, &mut KernelSource::new(text), &mut 0, false)
        .unwrap();
}

fn read(i: &InodeRef) -> Vec<u8> {
    let f = File::new(
        i.clone().open(CX, OpenFlags::empty()).unwrap(),
        i.clone(),
        None,
        OpenFlags::empty(),
    );
    let mut s = KernelSink::new(1 << 20);
    f.ops().read(&f, CX, &mut s, &mut 0).unwrap();
    s.data
}

fn list(i: &InodeRef) -> Vec<String> {
    let f = File::new(
        i.clone().open(CX, OpenFlags::DIRECTORY).unwrap(),
        i.clone(),
        None,
        OpenFlags::DIRECTORY,
    );
    let mut out = Vec::new();
    f.ops()
        .readdir(&f, CX, &mut 0, &mut |e| {
            out.push(String::from_utf8_lossy(e.name).into_owned());
            true
        })
        .unwrap();
    out.retain(|n| n != "." && n != "..");
    out.sort();
    out
}

/// A lower tree `d/{a,b}`, `f`, and an overlay over it: (lower root, overlay root).
fn tree() -> (InodeRef, InodeRef) {
    let lower: InodeRef = Tmpfs::root(&TmpfsOptions::default());
    let d = lower.mkdir(CX, b"d", 0o755).unwrap();
    write(&d.create(CX, b"a", 0o644).unwrap(), b"lower a");
    write(&d.create(CX, b"b", 0o600).unwrap(), b"lower b");
    write(&lower.create(CX, b"f", 0o640).unwrap(), b"lower f");
    let upper: InodeRef = Tmpfs::root(&TmpfsOptions::default());
    let root = Overlay::root(lower.clone(), upper).unwrap();
    (lower, root)
}

#[test]
fn writing_copies_up_and_keeps_number_and_attributes() {
    let (lower, root) = tree();
    let f = root.lookup(b"f").unwrap();
    let before = f.stat().unwrap();
    assert_eq!(read(&f), b"lower f");
    write(&f, b"UPPER");
    let after = f.stat().unwrap();
    assert_eq!(read(&f), b"UPPER f");
    assert_eq!(
        (before.ino, before.dev, before.perm),
        (after.ino, after.dev, after.perm)
    );
    assert_eq!(read(&lower.lookup(b"f").unwrap()), b"lower f");
    drop(f);
    assert_eq!(root.lookup(b"f").unwrap().stat().unwrap().ino, before.ino);
}

#[test]
fn a_file_deep_down_takes_its_directories_along() {
    let (lower, root) = tree();
    write(&root.lookup(b"d").unwrap().lookup(b"a").unwrap(), b"X");
    assert_eq!(list(&root.lookup(b"d").unwrap()), ["a", "b"]);
    assert_eq!(
        read(&lower.lookup(b"d").unwrap().lookup(b"a").unwrap()),
        b"lower a"
    );
}

#[test]
fn removed_names_stay_removed_and_can_be_made_again() {
    let (lower, root) = tree();
    root.unlink(CX, b"f").unwrap();
    assert_eq!(root.lookup(b"f").err(), Some(crate::abi::Errno::ENOENT));
    assert_eq!(list(&root), ["d"]);
    let f = root.create(CX, b"f", 0o600).unwrap();
    assert_eq!(read(&f), b"");
    assert_eq!(list(&root), ["d", "f"]);
    assert!(lower.lookup(b"f").is_ok());
}

#[test]
fn a_directory_made_again_is_empty() {
    let (_lower, root) = tree();
    assert_eq!(
        root.rmdir(CX, b"d").err(),
        Some(crate::abi::Errno::ENOTEMPTY)
    );
    let d = root.lookup(b"d").unwrap();
    d.unlink(CX, b"a").unwrap();
    d.unlink(CX, b"b").unwrap();
    root.rmdir(CX, b"d").unwrap();
    let d = root.mkdir(CX, b"d", 0o755).unwrap();
    assert!(list(&d).is_empty());
}

#[test]
fn a_renamed_directory_shows_its_old_contents_and_nothing_else() {
    let (_lower, root) = tree();
    root.rename(CX, b"d", &root, b"e", RenameFlags::empty())
        .unwrap();
    assert_eq!(list(&root), ["e", "f"]);
    let e = root.lookup(b"e").unwrap();
    assert_eq!(list(&e), ["a", "b"]);
    assert_eq!(read(&e.lookup(b"a").unwrap()), b"lower a");
    write(&e.lookup(b"b").unwrap(), b"new");
    drop(e);
    let d = root.mkdir(CX, b"d", 0o755).unwrap();
    assert!(list(&d).is_empty());
    assert_eq!(
        read(&root.lookup(b"e").unwrap().lookup(b"b").unwrap()),
        b"newer b"
    );
}

#[test]
fn names_can_be_exchanged_between_layers() {
    let (_lower, root) = tree();
    let n = root.mkdir(CX, b"n", 0o755).unwrap();
    n.create(CX, b"x", 0o600).unwrap();
    root.rename(CX, b"n", &root, b"d", RenameFlags::EXCHANGE)
        .unwrap();
    assert_eq!(list(&root.lookup(b"n").unwrap()), ["a", "b"]);
    assert_eq!(list(&root.lookup(b"d").unwrap()), ["x"]);
}

#[test]
fn hard_links_to_a_lower_file_are_one_object() {
    let (_lower, root) = tree();
    let f = root.lookup(b"f").unwrap();
    root.link(CX, b"g", &f).unwrap();
    write(&root.lookup(b"g").unwrap(), b"both");
    assert_eq!(read(&root.lookup(b"f").unwrap()), b"bothr f");
    assert_eq!(f.stat().unwrap().nlink, 2);
    assert_eq!(
        root.lookup(b"g").unwrap().stat().unwrap().ino,
        f.stat().unwrap().ino
    );
}

#[test]
fn whiteouts_cannot_be_made_by_hand() {
    let (_lower, root) = tree();
    assert_eq!(
        root.mknod(CX, b"w", FileType::CharDevice, 0o600, 0).err(),
        Some(crate::abi::Errno::EPERM)
    );
    let _: &dyn Caller = CX;
}
