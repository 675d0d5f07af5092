//! ELF and script loading.
