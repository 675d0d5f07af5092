//! Files about tasks: /proc.
