//! PREPAREs and COMMITs as bytes.
//!
//! A request carries hundreds of branches of as many attempts. Each attempt encodes its branches once, into one buffer;
//! a lane's request is what lies in its queue, one after the other. The result is what the generated types would have
//! encoded, and their strings need not be made for each branch.
use bytes::{Buf, BufMut, Bytes, BytesMut};
use participant::TransactionRef;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use proto::assent::transaction::v1 as wire;
use tonic::Status;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic_prost::ProstCodec;

const UUID_TEXT: usize = uuid::fmt::Hyphenated::LENGTH;

/// Who takes part in a transaction and who drives it, as all PREPAREs of it carry it: PrepareBranch's fields 2 and 3.
#[derive(Debug, Clone)]
pub struct Origin(Bytes);

impl Origin {
    /// Of these participants and this incarnation.
    pub fn new(participants: &[&str], owner_id: &str) -> Self {
        let participants = participants.iter().map(|&name| name.to_owned()).collect();
        let branch = wire::PrepareBranch { participants, owner_id: owner_id.to_owned(), ..Default::default() };
        Origin(branch.encode_to_vec().into())
    }
}

/// Encodes a branch as one of the branches of a PrepareRequest.
pub fn branch(buffer: &mut BytesMut, transaction: TransactionRef, origin: &Origin, branch: &impl Message) -> Bytes {
    let branch_len = branch.encoded_len();
    let length = field_len(1, reference_len(transaction))
        + origin.0.len()
        + if branch_len == 0 { 0 } else { field_len(4, branch_len) };
    buffer.reserve(field_len(1, length));
    put_head(buffer, 1, length);
    put_reference(buffer, transaction);
    buffer.put_slice(&origin.0);
    if branch_len != 0 {
        put_head(buffer, 4, branch_len);
        branch.encode_raw(buffer);
    }
    buffer.split().freeze()
}

/// The same of a branch that is encoded already.
pub fn raw(buffer: &mut BytesMut, transaction: TransactionRef, origin: &Origin, branch: &[u8]) -> Bytes {
    let length = field_len(1, reference_len(transaction))
        + origin.0.len()
        + if branch.is_empty() { 0 } else { field_len(4, branch.len()) };
    buffer.reserve(field_len(1, length));
    put_head(buffer, 1, length);
    put_reference(buffer, transaction);
    buffer.put_slice(&origin.0);
    if !branch.is_empty() {
        put_head(buffer, 4, branch.len());
        buffer.put_slice(branch);
    }
    buffer.split().freeze()
}

/// Encodes a CommitRequest that may be lazy.
pub fn commits(transactions: impl ExactSizeIterator<Item = TransactionRef>) -> Vec<Bytes> {
    let mut buffer = BytesMut::with_capacity(transactions.len() * 64);
    transactions.for_each(|transaction| put_reference(&mut buffer, transaction));
    vec![buffer.freeze()]
}

/// What names a transaction, as field 1 of a message.
fn put_reference(buffer: &mut BytesMut, transaction: TransactionRef) {
    put_head(buffer, 1, reference_len(transaction));
    put_head(buffer, 1, UUID_TEXT);
    let mut text = [0; UUID_TEXT];
    buffer.put_slice(transaction.transaction_id.hyphenated().encode_lower(&mut text).as_bytes());
    prost::encoding::int64::encode(2, &transaction.deadline_unix_ms, buffer);
}

fn reference_len(transaction: TransactionRef) -> usize {
    field_len(1, UUID_TEXT) + prost::encoding::int64::encoded_len(2, &transaction.deadline_unix_ms)
}

fn put_head(buffer: &mut BytesMut, field: u32, length: usize) {
    encode_key(field, WireType::LengthDelimited, buffer);
    encode_varint(length as u64, buffer);
}

fn field_len(field: u32, length: usize) -> usize {
    key_len(field) + encoded_len_varint(length as u64) + length
}

/// Sends parts of a message one after the other; answers with the response `T`.
#[derive(Debug, Clone, Copy)]
pub struct Parts<T>(std::marker::PhantomData<T>);

impl<T> Default for Parts<T> {
    fn default() -> Self {
        Parts(std::marker::PhantomData)
    }
}

impl<T: Message + Default + Send + 'static> Codec for Parts<T> {
    type Encode = Vec<Bytes>;
    type Decode = T;
    type Encoder = Concatenate;
    type Decoder = <ProstCodec<T, T> as Codec>::Decoder;

    fn encoder(&mut self) -> Concatenate {
        Concatenate
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, T>::default().decoder()
    }
}

/// Puts parts one after the other.
#[derive(Debug)]
pub struct Concatenate;

impl Encoder for Concatenate {
    type Item = Vec<Bytes>;
    type Error = Status;

    fn encode(&mut self, parts: Vec<Bytes>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(parts.iter().map(Buf::remaining).sum());
        parts.into_iter().for_each(|part| buffer.put(part));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proto::assent::payment::v1::PaymentBranch;

    use super::*;

    fn transaction(deadline_unix_ms: i64) -> TransactionRef {
        TransactionRef { transaction_id: uuid::Uuid::now_v7(), deadline_unix_ms }
    }

    #[test]
    fn parts_are_what_the_generated_types_encode() {
        let origin = Origin::new(&["inventory", "payment"], "owner");
        let empty = PaymentBranch::default();
        let full = PaymentBranch { account: "ann".repeat(100), ..Default::default() };
        let (one, other) = (transaction(1), transaction(i64::MAX));
        let mut buffer = BytesMut::new();
        let parts = [branch(&mut buffer, one, &origin, &empty), branch(&mut buffer, other, &origin, &full)].concat();
        let raws = [
            raw(&mut buffer, one, &origin, &empty.encode_to_vec()),
            raw(&mut buffer, other, &origin, &full.encode_to_vec()),
        ];
        assert_eq!(raws.concat(), parts);
        let branch = |transaction: TransactionRef, branch: &PaymentBranch| wire::PrepareBranch {
            transaction: Some(transaction.into()),
            participants: vec!["inventory".to_owned(), "payment".to_owned()],
            owner_id: "owner".to_owned(),
            branch: branch.encode_to_vec(),
        };
        let expected = wire::PrepareRequest { branches: vec![branch(one, &empty), branch(other, &full)] };
        assert_eq!(wire::PrepareRequest::decode(parts.as_slice()), Ok(expected));

        let parts = commits([one, other].into_iter()).concat();
        let expected = wire::CommitRequest { transactions: vec![one.into(), other.into()], durable: false };
        assert_eq!(wire::CommitRequest::decode(parts.as_slice()), Ok(expected));
    }
}
