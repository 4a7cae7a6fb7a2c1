//! Values that stand in a plan.

use prost::{Message, Oneof};

use super::{ListType, MapType, Type, Unread};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Literal {
    #[prost(
        oneof = "LiteralKind",
        tags = "1, 2, 3, 5, 7, 10, 11, 12, 13, 14, 16, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, \
                34, 35, 36, 37"
    )]
    pub(crate) kind: Option<LiteralKind>,
    #[prost(uint32, tag = "51")]
    pub(crate) variation: u32,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum LiteralKind {
    #[prost(bool, tag = "1")]
    Boolean(bool),
    #[prost(int32, tag = "2")]
    I8(i32),
    #[prost(int32, tag = "3")]
    I16(i32),
    #[prost(int32, tag = "5")]
    I32(i32),
    #[prost(int64, tag = "7")]
    I64(i64),
    #[prost(float, tag = "10")]
    Fp32(f32),
    #[prost(double, tag = "11")]
    Fp64(f64),
    #[prost(string, tag = "12")]
    String(String),
    #[prost(bytes, tag = "13")]
    Binary(Vec<u8>),
    #[prost(int64, tag = "14")]
    Timestamp(i64),
    #[prost(int32, tag = "16")]
    Date(i32),
    #[prost(int64, tag = "17")]
    Time(i64),
    #[prost(message, tag = "19")]
    IntervalYear(YearToMonth),
    #[prost(message, tag = "20")]
    IntervalDay(DayToSecond),
    #[prost(string, tag = "21")]
    FixedChar(String),
    #[prost(message, tag = "22")]
    VarChar(VarCharValue),
    #[prost(bytes, tag = "23")]
    FixedBinary(Vec<u8>),
    #[prost(message, tag = "24")]
    Decimal(DecimalValue),
    #[prost(message, tag = "25")]
    Struct(LiteralRow),
    #[prost(message, tag = "26")]
    Map(MapValue),
    #[prost(int64, tag = "27")]
    TimestampTz(i64),
    #[prost(bytes, tag = "28")]
    Uuid(Vec<u8>),
    #[prost(message, tag = "29")]
    Null(Type),
    #[prost(message, tag = "30")]
    List(ListValue),
    #[prost(message, tag = "31")]
    EmptyList(Box<ListType>),
    #[prost(message, tag = "32")]
    EmptyMap(Box<MapType>),
    #[prost(message, tag = "33")]
    UserDefined(Unread),
    #[prost(message, tag = "34")]
    PrecisionTimestamp(PreciseValue),
    #[prost(message, tag = "35")]
    PrecisionTimestampTz(PreciseValue),
    #[prost(message, tag = "36")]
    IntervalCompound(Compound),
    #[prost(message, tag = "37")]
    PrecisionTime(PreciseValue),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct VarCharValue {
    #[prost(string, tag = "1")]
    pub(crate) value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DecimalValue {
    /// 16 bytes, the least first.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) value: Vec<u8>,
    #[prost(int32, tag = "2")]
    pub(crate) precision: i32,
    #[prost(int32, tag = "3")]
    pub(crate) scale: i32,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct PreciseValue {
    #[prost(int32, tag = "1")]
    pub(crate) precision: i32,
    #[prost(int64, tag = "2")]
    pub(crate) value: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct YearToMonth {
    #[prost(int32, tag = "1")]
    pub(crate) years: i32,
    #[prost(int32, tag = "2")]
    pub(crate) months: i32,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct DayToSecond {
    #[prost(int32, tag = "1")]
    pub(crate) days: i32,
    #[prost(int32, tag = "2")]
    pub(crate) seconds: i32,
    /// The form before there were precisions.
    #[prost(int32, tag = "3")]
    pub(crate) microseconds: i32,
    #[prost(int32, tag = "4")]
    pub(crate) precision: i32,
    #[prost(int64, tag = "5")]
    pub(crate) subseconds: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Compound {
    #[prost(message, optional, tag = "1")]
    pub(crate) year_to_month: Option<YearToMonth>,
    #[prost(message, optional, tag = "2")]
    pub(crate) day_to_second: Option<DayToSecond>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ListValue {
    #[prost(message, repeated, tag = "1")]
    pub(crate) values: Vec<Literal>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MapValue {
    #[prost(message, repeated, tag = "1")]
    pub(crate) entries: Vec<MapEntry>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MapEntry {
    #[prost(message, optional, tag = "1")]
    pub(crate) key: Option<Literal>,
    #[prost(message, optional, tag = "2")]
    pub(crate) value: Option<Literal>,
}

/// A row of literals, and a struct's fields, which have no names.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct LiteralRow {
    #[prost(message, repeated, tag = "1")]
    pub(crate) fields: Vec<Literal>,
}
