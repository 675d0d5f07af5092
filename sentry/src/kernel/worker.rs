//! Workers: threads that take traps and woken tasks and run handlers.
