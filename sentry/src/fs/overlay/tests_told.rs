//! Whoever was told of a path hears of each change: all kinds of changes against all kinds of paths, on an overlay.

use super::tests::*;
use crate::abi::Errno;
use crate::vfs::told::{Of, Teller};
use crate::vfs::{attr, names, xattr, *};
use cofferdam_platform::epoch;

/// What stat or lstat says: an errno, or attributes as text.
type Said = std::result::Result<String, Errno>;

fn say(w: &World, path: &str, flags: WalkFlags, teller: &mut Option<Teller>) -> Said {
    let caller = (&ROOT as &dyn Caller, &**ROOT.credentials());
    let place = resolve_as(caller, &w.fs, &At::Cwd, path.as_bytes(), flags, teller)?;
    if teller.is_some_and(|t| !place.inode().tell(&t, Of::All)) {
        *teller = None;
    }
    let st = place.inode().stat()?;
    let write = attr::access(&ROOT, ROOT.credentials(), &place, permission::WRITE);
    Ok(format!("{st:?} {write:?}"))
}

/// Where the teller's own counter stands.
fn own(teller: &Teller) -> u64 {
    let all = epoch(0).unwrap() / 2;
    epoch(teller.stand().0).unwrap() - all
}

type Change = (&'static str, fn(&World));

const CHANGES: &[Change] = &[
    ("nothing", |_| {}),
    ("create", |w| drop(creat(&w.fs, "/d/new"))),
    ("create in a lower directory", |w| {
        drop(creat(&w.fs, "/d/sub/new"));
    }),
    ("create below an absent one", |w| {
        mkdir(&w.fs, "/no").unwrap();
        drop(creat(&w.fs, "/no/thing"));
    }),
    ("write", |w| {
        put(&how(OpenFlags::RDWR, &w.fs, "/d/a").unwrap(), 0, "UPPER");
    }),
    ("open for writing", |w| {
        drop(how(OpenFlags::RDWR, &w.fs, "/d/a").unwrap());
    }),
    ("truncate", |w| {
        attr::truncate(&ROOT, &find(&w.fs, "/d/a").unwrap(), 1).unwrap();
    }),
    ("chmod", |w| {
        attr::chmod(&ROOT, &find(&w.fs, "/d/a").unwrap(), 0o600).unwrap();
    }),
    ("chmod of a directory", |w| {
        attr::chmod(&ROOT, &find(&w.fs, "/d").unwrap(), 0o700).unwrap();
    }),
    ("chown of the root", |w| {
        attr::chown(&ROOT, &find(&w.fs, "/").unwrap(), Some(5), None).unwrap();
    }),
    ("chown of a link", |w| {
        let link = resolve(&ROOT, &w.fs, &At::Cwd, b"/link", WalkFlags::empty()).unwrap();
        attr::chown(&ROOT, &link, Some(5), None).unwrap();
    }),
    ("times", |w| {
        let at = Some(SetTime::At(Timestamp { sec: 1, nsec: 2 }));
        attr::utimes(&ROOT, &find(&w.fs, "/d/hard2").unwrap(), at, at).unwrap();
    }),
    ("attribute", |w| {
        let place = find(&w.fs, "/d/b").unwrap();
        xattr::set(&ROOT, &place, b"trusted.x", b"y", 0).unwrap();
    }),
    ("unlink", |w| unlink(&w.fs, "/d/a").unwrap()),
    ("unlink one of two", |w| unlink(&w.fs, "/d/hard1").unwrap()),
    ("link", |w| {
        let a = find(&w.fs, "/d/hard1").unwrap();
        names::link(&ROOT, &w.fs, &a, &At::Cwd, b"/d/new").unwrap();
    }),
    ("symlink", |w| {
        names::symlink(&ROOT, &w.fs, b"d/b", &At::Cwd, b"/no").unwrap();
    }),
    ("rename", |w| rename(&w.fs, "/d/a", "/d/new").unwrap()),
    ("rename over", |w| rename(&w.fs, "/d/a", "/d/b").unwrap()),
    ("rename over one of two", |w| {
        rename(&w.fs, "/d/a", "/d/hard1").unwrap();
    }),
    ("rename of an upper directory", |w| {
        mkdir(&w.fs, "/up").unwrap();
        rename(&w.fs, "/up", "/no").unwrap();
    }),
    ("exchange", |w| {
        rename2(&w.fs, "/d/a", "/d/b", RenameFlags::EXCHANGE).unwrap();
    }),
    ("rmdir", |w| rmdir(&w.fs, "/empty").unwrap()),
    ("rmdir and create", |w| {
        rmdir(&w.fs, "/empty").unwrap();
        drop(creat(&w.fs, "/empty"));
    }),
    ("replaced link", |w| {
        unlink(&w.fs, "/link").unwrap();
        names::symlink(&ROOT, &w.fs, b"d/b", &At::Cwd, b"/link").unwrap();
    }),
    ("unlinked while open", |w| {
        let f = how(OpenFlags::RDWR, &w.fs, "/d/hard1").unwrap();
        unlink(&w.fs, "/d/hard1").unwrap();
        put(&f, 0, "longer than it was");
    }),
];

const PATHS: &[&str] = &[
    "/",
    "/d",
    "/d/a",
    "/d/b",
    "/d/hard1",
    "/d/hard2",
    "/d/new",
    "/d/sub",
    "/d/sub/x",
    "/d/sub/new",
    "/empty",
    "/empty/x",
    "/no",
    "/no/thing",
    "/d/a/x",
    "/d/a/",
    "//d/./sub/../b",
    "/link",
    "/link/",
];

#[test]
fn whoever_was_told_hears_of_each_change() {
    // Nobody else has this counter: hashes of other tests are of paths.
    let counter = 500;
    let mut changes = 0;
    for (what, change) in CHANGES {
        for path in PATHS {
            for flags in [WalkFlags::FOLLOW, WalkFlags::empty()] {
                let w = world();
                // Known before, as what is asked often is.
                let _ = say(&w, path, flags, &mut None);
                let mut teller = Teller::begin(counter);
                let begun = teller.unwrap();
                let stood = own(&begun);
                let before = say(&w, path, flags, &mut teller);
                assert!(teller.is_some(), "{path} cannot be told: {before:?}");
                assert_eq!(own(&begun), stood, "{path} {what}: looking changes nothing");
                change(&w);
                let moved = own(&begun) != stood;
                let after = say(&w, path, flags, &mut None);
                if before != after {
                    changes += 1;
                    assert!(moved, "{what}: {path} was {before:?}, is {after:?}");
                }
                if *what == "nothing" {
                    assert!(!moved, "{path}");
                }
            }
        }
    }
    assert!(changes > 100, "{changes}");
}

/// A file that nobody told of changes without a word: names beside it do not end what was told.
#[test]
fn other_names_do_not_matter() {
    let w = world();
    drop(creat(&w.fs, "/d/told"));
    let _ = say(&w, "/d/told", WalkFlags::FOLLOW, &mut None);
    let _ = say(&w, "/d/none", WalkFlags::FOLLOW, &mut None);
    let mut teller = Teller::begin(501);
    let begun = teller.unwrap();
    for path in ["/d/told", "/d/none"] {
        say(&w, path, WalkFlags::FOLLOW, &mut teller).ok();
        assert!(teller.is_some());
    }
    let stood = own(&begun);
    put(&creat(&w.fs, "/d/other"), 0, "text");
    rename(&w.fs, "/d/other", "/d/another").unwrap();
    mkdir(&w.fs, "/d/dir").unwrap();
    unlink(&w.fs, "/d/another").unwrap();
    assert_eq!(own(&begun), stood);
    drop(creat(&w.fs, "/d/none"));
    assert_ne!(own(&begun), stood);
}
