//! The ways to run a command that are compared.

use super::{Result, oci};
use crate::workload::scratch::Scratch;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

/// One of them.
#[derive(Debug)]
pub struct Target {
    /// What the results are called by.
    pub name: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Native,
    /// `PROGRAM do --platform PLATFORM -- COMMAND`
    Cofferdam {
        program: PathBuf,
        platform: String,
    },
    /// `PROGRAM ARG… run --bundle DIR ID`, the command being in the bundle.
    Runtime(Prefix),
    /// `PROGRAM ARG… COMMAND`
    Wrapper(Prefix),
}

/// A program with its first arguments, and what to call it: `NAME=PATH[,ARG]…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// What the results are called by.
    pub name: String,
    /// Its path, or a name to be looked up in PATH.
    pub program: String,
    /// Arguments.
    pub args: Vec<String>,
}

impl Prefix {
    /// Parses it.
    pub fn parse(text: &str) -> Result<Prefix> {
        let wrong = || format!("'{text}': write NAME=PATH[,ARG]...");
        let (name, rest) = text.split_once('=').ok_or_else(wrong)?;
        let mut words = rest.split(',').map(str::to_owned);
        let program = words.next().filter(|p| !p.is_empty()).ok_or_else(wrong)?;
        // The operations run in another directory.
        let program = match std::path::absolute(&program) {
            Ok(path) if program.contains('/') => path.to_string_lossy().into_owned(),
            _ => program,
        };
        if name.is_empty() {
            return Err(wrong());
        }
        Ok(Prefix {
            name: name.to_owned(),
            program,
            args: words.collect(),
        })
    }

    /// Whether there is such a program, before anything is measured.
    ///
    /// # Errors
    /// A sentence.
    pub fn check(&self) -> Result<()> {
        let program = Path::new(&self.program);
        if self.program.contains('/') {
            return match program.try_exists() {
                Ok(true) => Ok(()),
                _ => Err(format!("there is no program {}", self.program)),
            };
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        if std::env::split_paths(&path).any(|dir| dir.join(program).is_file()) {
            return Ok(());
        }
        Err(format!("{} is not in PATH", self.program))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args);
        command
    }
}

/// A command ready to be run, and what must be there until it has ended.
pub struct Prepared {
    /// The command.
    pub command: Command,
    _bundle: Option<Scratch>,
}

impl From<Command> for Prepared {
    fn from(command: Command) -> Prepared {
        Prepared {
            command,
            _bundle: None,
        }
    }
}

/// Where the workload's program is inside a sandbox.
const INSIDE: &str = "/cofferdam-bench";

impl Target {
    /// As an ordinary process.
    pub fn native() -> Target {
        Target {
            name: "native".into(),
            kind: Kind::Native,
        }
    }

    /// Inside a sandbox of this program on a platform.
    ///
    /// # Errors
    /// Where this program lies cannot be told.
    pub fn platform(platform: &str) -> Result<Target> {
        Ok(Target {
            name: platform.to_owned(),
            kind: Kind::Cofferdam {
                program: this_program()?,
                platform: platform.to_owned(),
            },
        })
    }

    /// Inside a sandbox of another build of this program.
    pub fn other_build(name: &str, program: &Path, platform: &str) -> Target {
        Target {
            name: format!("{name}:{platform}"),
            kind: Kind::Cofferdam {
                program: program.to_owned(),
                platform: platform.to_owned(),
            },
        }
    }

    /// Under an OCI runtime.
    pub fn runtime(prefix: Prefix) -> Target {
        Target {
            name: prefix.name.clone(),
            kind: Kind::Runtime(prefix),
        }
    }

    /// Under a program that runs a command.
    pub fn wrapper(prefix: Prefix) -> Target {
        Target {
            name: prefix.name.clone(),
            kind: Kind::Wrapper(prefix),
        }
    }

    /// A command line of the user's, in the current directory.
    ///
    /// # Errors
    /// A bundle could not be made.
    pub fn command(&self, argv: &[OsString]) -> Result<Prepared> {
        self.prepare(argv, None, None)
    }

    /// A command line for this program's own workload with these arguments.
    ///
    /// # Errors
    /// As [`Target::platform`] and [`Target::command`].
    pub fn workload(&self, args: &[OsString]) -> Result<Prepared> {
        self.workload_with(args, None)
    }

    /// As [`Target::workload`], with a profile of it written to a file. `None`: this target writes none.
    ///
    /// # Errors
    /// As [`Target::workload`].
    pub fn profiled_workload(&self, args: &[OsString], file: &Path) -> Result<Option<Prepared>> {
        match self.kind {
            Kind::Cofferdam { .. } => self.workload_with(args, Some(file)).map(Some),
            _ => Ok(None),
        }
    }

    fn workload_with(&self, args: &[OsString], profile: Option<&Path>) -> Result<Prepared> {
        let own = this_program()?;
        let program = match self.kind {
            Kind::Native | Kind::Wrapper(_) => own.as_os_str(),
            Kind::Cofferdam { .. } | Kind::Runtime(_) => OsStr::new(INSIDE),
        };
        let mut argv = vec![program.to_owned(), "workload".into()];
        argv.extend_from_slice(args);
        self.prepare(&argv, Some(&own), profile)
    }

    fn prepare(
        &self,
        argv: &[OsString],
        own: Option<&Path>,
        profile: Option<&Path>,
    ) -> Result<Prepared> {
        let mut command = match &self.kind {
            Kind::Native => {
                let (program, args) = argv.split_first().ok_or("there is no command")?;
                let mut command = Command::new(program);
                command.args(args);
                return Ok(command.into());
            }
            Kind::Wrapper(prefix) => prefix.command(),
            Kind::Runtime(prefix) => {
                let (bundle, id) = oci::bundle(argv, own.map(|o| (o, Path::new(INSIDE))))?;
                let mut command = prefix.command();
                let dir = bundle.path("");
                command.arg("run").arg("--bundle").arg(dir).arg(id);
                return Ok(Prepared {
                    command,
                    _bundle: Some(bundle),
                });
            }
            Kind::Cofferdam { program, platform } => {
                let mut command = Command::new(program);
                command.args(["do", "--platform", platform]);
                if let Some(own) = own {
                    command.arg("--bind").arg(joined(own, ":", INSIDE));
                }
                if let Some(file) = profile {
                    command.arg(joined("--profile", "=", file));
                }
                command.arg("--");
                command
            }
        };
        command.args(argv);
        Ok(command.into())
    }
}

fn joined(a: impl AsRef<OsStr>, between: &str, b: impl AsRef<OsStr>) -> OsString {
    let mut text = a.as_ref().to_owned();
    text.push(between);
    text.push(b);
    text
}

fn this_program() -> Result<PathBuf> {
    std::env::current_exe().map_err(|e| format!("cannot find the program itself: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_have_a_name_a_program_and_arguments() {
        let p = Prefix::parse("runsc=/usr/bin/runsc,--network=none,do").unwrap();
        assert_eq!(
            (p.name.as_str(), p.program.as_str()),
            ("runsc", "/usr/bin/runsc")
        );
        assert_eq!(p.args, ["--network=none", "do"]);
        for bad in ["runc", "=runc", "runc=", "runc=,x"] {
            assert!(
                Prefix::parse(bad).unwrap_err().contains("NAME=PATH"),
                "{bad}"
            );
        }
    }

    #[test]
    fn each_target_has_its_own_command_line() {
        let argv: Vec<OsString> = vec!["a".into(), "b".into()];
        let shown = |t: Target| {
            let command = t.command(&argv).unwrap().command;
            let words = std::iter::once(command.get_program()).chain(command.get_args());
            words
                .map(|w| w.to_string_lossy().into_owned())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(shown(Target::native()), "a b");
        let other = Target::other_build("old", Path::new("/old"), "notify");
        assert_eq!(shown(other), "/old do --platform notify -- a b");
        let bwrap = Prefix::parse("bwrap=bwrap,--unshare-all").unwrap();
        assert_eq!(shown(Target::wrapper(bwrap)), "bwrap --unshare-all a b");
        let runc = Prefix::parse("runc=runc,--debug").unwrap();
        let line = shown(Target::runtime(runc));
        assert!(line.starts_with("runc --debug run --bundle /"), "{line}");
    }
}
