//! File systems and the objects behind descriptors that have no file system of their own.

pub mod anon;
pub mod devfs;
pub mod devices;
pub mod epoll;
pub mod eventfd;
pub mod host;
pub mod pipe;
pub mod pseudo;
