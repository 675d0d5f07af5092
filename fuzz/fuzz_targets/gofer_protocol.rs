//! Any bytes, as a request and as a reply: decoding must neither panic nor accept what it would
//! not write itself.
#![no_main]

use cofferdam_gofer::protocol::{Reply, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The fuzzer cannot guess the length field: help it, so that it gets further in.
    let mut message = bytes.to_vec();
    let len = u32::try_from(message.len()).unwrap_or(0);
    if let Some(head) = message.get_mut(..4) {
        head.copy_from_slice(&len.to_ne_bytes());
    }
    let mut again = Vec::new();
    for bytes in [bytes, &message] {
        if let Ok((header, closes, request)) = Request::decode(bytes) {
            let closes: Vec<_> = closes.iter().collect();
            request.encode(header.id, &closes, &mut again).expect("it came from a message");
            assert_eq!(again, bytes);
        }
        if let Ok((header, reply)) = Reply::decode(bytes) {
            reply.encode(header.id, header.fds, &mut again).expect("it came from a message");
            assert_eq!(again, bytes);
        }
    }
});
