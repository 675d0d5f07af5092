//! epoll(7) instances.
