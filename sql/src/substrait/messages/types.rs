//! Types. Whether values may be NULL is not read: the server knows it of its own columns.

use prost::{Message, Oneof};

use super::Unread;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Type {
    #[prost(
        oneof = "TypeKind",
        tags = "1, 2, 3, 5, 7, 10, 11, 12, 13, 14, 16, 17, 19, 20, 21, 22, 23, 24, 25, 27, 28, 29, 30, 32, 33, 34, 35, \
                36, 37, 38"
    )]
    pub(crate) kind: Option<TypeKind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum TypeKind {
    #[prost(message, tag = "1")]
    Bool(Plain),
    #[prost(message, tag = "2")]
    I8(Plain),
    #[prost(message, tag = "3")]
    I16(Plain),
    #[prost(message, tag = "5")]
    I32(Plain),
    #[prost(message, tag = "7")]
    I64(Plain),
    #[prost(message, tag = "10")]
    Fp32(Plain),
    #[prost(message, tag = "11")]
    Fp64(Plain),
    #[prost(message, tag = "12")]
    String(Plain),
    #[prost(message, tag = "13")]
    Binary(Plain),
    #[prost(message, tag = "14")]
    Timestamp(Plain),
    #[prost(message, tag = "16")]
    Date(Plain),
    #[prost(message, tag = "17")]
    Time(Plain),
    #[prost(message, tag = "19")]
    IntervalYear(Plain),
    #[prost(message, tag = "20")]
    IntervalDay(IntervalDayType),
    #[prost(message, tag = "21")]
    FixedChar(Unread),
    #[prost(message, tag = "22")]
    VarChar(Unread),
    #[prost(message, tag = "23")]
    FixedBinary(Sized),
    #[prost(message, tag = "24")]
    Decimal(DecimalType),
    #[prost(message, tag = "25")]
    Struct(StructType),
    #[prost(message, tag = "27")]
    List(Box<ListType>),
    #[prost(message, tag = "28")]
    Map(Box<MapType>),
    #[prost(message, tag = "29")]
    TimestampTz(Plain),
    #[prost(message, tag = "30")]
    UserDefined(UserDefinedType),
    #[prost(message, tag = "32")]
    Uuid(Unread),
    #[prost(message, tag = "33")]
    PrecisionTimestamp(Precise),
    #[prost(message, tag = "34")]
    PrecisionTimestampTz(Precise),
    #[prost(message, tag = "35")]
    IntervalCompound(Unread),
    #[prost(message, tag = "36")]
    PrecisionTime(Precise),
    #[prost(message, tag = "37")]
    Alias(Unread),
    #[prost(message, tag = "38")]
    Func(Unread),
}

/// A type that has nothing more to it.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Plain {
    /// Arrow has more than one type of a kind: of integers, 1 is the unsigned one.
    #[prost(uint32, tag = "1")]
    pub(crate) variation: u32,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct IntervalDayType {
    /// 1 is Arrow's Duration.
    #[prost(uint32, tag = "1")]
    pub(crate) variation: u32,
    #[prost(int32, optional, tag = "3")]
    pub(crate) precision: Option<i32>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Sized {
    #[prost(int32, tag = "1")]
    pub(crate) length: i32,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct DecimalType {
    #[prost(int32, tag = "1")]
    pub(crate) scale: i32,
    #[prost(int32, tag = "2")]
    pub(crate) precision: i32,
    /// 1 is Arrow's decimal of 256 bits.
    #[prost(uint32, tag = "3")]
    pub(crate) variation: u32,
}

/// A time, in parts of a second: 6 are microseconds.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Precise {
    #[prost(int32, tag = "1")]
    pub(crate) precision: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StructType {
    #[prost(message, repeated, tag = "1")]
    pub(crate) types: Vec<Type>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ListType {
    #[prost(message, optional, tag = "1")]
    pub(crate) element: Option<Type>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MapType {
    #[prost(message, optional, tag = "1")]
    pub(crate) key: Option<Type>,
    #[prost(message, optional, tag = "2")]
    pub(crate) value: Option<Type>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct UserDefinedType {
    #[prost(uint32, tag = "1")]
    pub(crate) reference: u32,
}

/// The columns of a table.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct NamedStruct {
    /// Those of a struct's fields behind its own.
    #[prost(string, repeated, tag = "1")]
    pub(crate) names: Vec<String>,
    #[prost(message, optional, tag = "2")]
    pub(crate) columns: Option<StructType>,
}
