//! Our own settings: from a configuration file, then annotations that it allows, then the command line.

use super::{Error, Result};
use serde::Deserialize;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Where the file is, unless `COFFERDAM_CONFIG` says otherwise.
pub const FILE: &str = "/etc/cofferdam/config.json";

/// How sandboxes of containers are run.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// How system calls are trapped.
    pub platform: String,
    /// `none`: writes to the root are made; `memory`: they vanish with the container.
    pub overlay: Overlay,
    /// Where decoded system calls go.
    pub strace: Option<PathBuf>,
    /// Settings that a container's annotations may change: `platform`, `overlay`.
    pub allow_annotations: Vec<String>,
}

/// Where writes to the root go.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Overlay {
    /// To the root itself.
    None,
    /// To memory.
    Memory,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            platform: crate::sandbox::AUTO.into(),
            overlay: Overlay::None,
            strace: None,
            allow_annotations: vec!["platform".into()],
        }
    }
}

/// Before the name of a setting in an annotation.
const PREFIX: &str = "dev.cofferdam.";

impl Settings {
    /// From the file, if there is one.
    ///
    /// # Errors
    /// It is malformed.
    pub fn load() -> Result<Settings> {
        let path = std::env::var_os("COFFERDAM_CONFIG").map_or(PathBuf::from(FILE), PathBuf::from);
        Settings::from_file(&path)
    }

    fn from_file(path: &Path) -> Result<Settings> {
        match std::fs::read(path) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|e| Error::Other(format!("{} is malformed: {e}", path.display()))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Settings::default()),
            Err(e) => Err(Error::Other(format!("cannot read {}: {e}", path.display()))),
        }
    }

    /// Applies annotations.
    ///
    /// # Errors
    /// One is not allowed or has no such value.
    pub fn annotate(&mut self, annotations: &HashMap<String, String>) -> Result<()> {
        for (key, value) in annotations {
            let Some(name) = key.strip_prefix(PREFIX) else {
                continue;
            };
            if !self.allow_annotations.iter().any(|a| a == name) {
                return Err(Error::Other(format!(
                    "the annotation {key} is not allowed; allowAnnotations in {FILE} names those that are"
                )));
            }
            match (name, value.as_str()) {
                ("platform", name) => self.platform = name.into(),
                ("overlay", "none") => self.overlay = Overlay::None,
                ("overlay", "memory") => self.overlay = Overlay::Memory,
                _ => {
                    return Err(Error::Other(format!(
                        "the annotation {key}={value} means nothing"
                    )));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotated(key: &str, value: &str, allowed: &[&str]) -> Result<Settings> {
        let mut s = Settings {
            allow_annotations: allowed.iter().map(|s| (*s).to_owned()).collect(),
            ..Settings::default()
        };
        s.annotate(&HashMap::from([(key.to_owned(), value.to_owned())]))?;
        Ok(s)
    }

    #[test]
    fn annotations_need_permission() {
        assert_eq!(
            annotated("other", "x", &[]).unwrap(),
            Settings {
                allow_annotations: vec![],
                ..Settings::default()
            }
        );
        assert!(annotated("dev.cofferdam.overlay", "memory", &[]).is_err());
        let s = annotated("dev.cofferdam.overlay", "memory", &["overlay"]).unwrap();
        assert_eq!(s.overlay, Overlay::Memory);
        assert!(annotated("dev.cofferdam.overlay", "disk", &["overlay"]).is_err());
        assert_eq!(
            annotated("dev.cofferdam.platform", "notify", &["platform"])
                .unwrap()
                .platform,
            "notify"
        );
    }

    #[test]
    fn the_file_is_checked() {
        let path = std::env::temp_dir().join(format!("cofferdam-settings-{}", std::process::id()));
        assert_eq!(Settings::from_file(&path).unwrap(), Settings::default());
        std::fs::write(&path, r#"{"overlay":"memory"}"#).unwrap();
        assert_eq!(Settings::from_file(&path).unwrap().overlay, Overlay::Memory);
        std::fs::write(&path, r#"{"overlai":"memory"}"#).unwrap();
        assert!(Settings::from_file(&path).is_err());
        std::fs::remove_file(&path).unwrap();
    }
}
