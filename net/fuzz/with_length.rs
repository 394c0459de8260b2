/// The frame with a length field that agrees, so that what is behind it is looked at.
pub(crate) fn with_length(bytes: &[u8]) -> Vec<u8> {
    let mut frame = bytes.to_vec();
    if let Some(field) = frame.first_chunk_mut() {
        *field = (bytes.len() as u32 - 4).to_be_bytes();
    }
    frame
}
