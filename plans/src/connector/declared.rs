//! The declarations themselves.

use arrow::datatypes::DataType::{Int64, Timestamp, Utf8};
use arrow::datatypes::{DataType, TimeUnit};

use super::OptionKind::{Boolean, Count, Delimiter, Duration, Interval, Number, OneOf, Text};
use super::startup::{STARTUP_MODE_OPTION, WORDS};
use super::{Bounds, ConnectorSpec, InParallel, KnownColumn, KnownTable, OptionKind, OptionSpec};
use crate::pushed::{BYTES_OPTION, MAX_BYTES_OPTION, PUSH_CONNECTOR, RETENTION_OPTION, TABLE_CONNECTOR};

const FORMATS: OptionKind = OneOf(&["parquet", "arrow", "avro", "csv", "json", "debezium-json", "upsert-json"]);

const NULL_EVENT_TIME: OptionSpec = OptionSpec::optional(
    "null_event_time",
    OneOf(&["dead_letter", "skip"]),
    "Whether rows without an event time go to the dead letters, or are counted and skipped.",
)
.or("dead_letter");

const ROWS_PER_SECOND: OptionSpec =
    OptionSpec::optional("rows_per_second", Count, "The pace of all subtasks together; else as fast as it goes.");

const STARTUP_MODE: OptionSpec = OptionSpec::optional(
    STARTUP_MODE_OPTION,
    OneOf(WORDS),
    "Whether what is there when the job begins is live (earliest), left out (latest), or read first, and none of it late (backfill).",
)
.or("earliest");

const RETENTION: OptionSpec = OptionSpec::optional(
    RETENTION_OPTION,
    Interval,
    "For how long rows are kept that all jobs have read; for ever without it.",
);

const RETENTION_BYTES: OptionSpec = OptionSpec::optional(
    BYTES_OPTION,
    Count,
    "Bytes of rows that are kept although all jobs have read them; all without it.",
);

const MAX_BYTES: OptionSpec = OptionSpec::optional(
    MAX_BYTES_OPTION,
    Count,
    "Bytes of rows that are kept; what is pushed beyond them is refused.",
);

const LOOKUP_CACHE_TTL: OptionSpec =
    OptionSpec::optional("lookup_cache_ttl", Duration, "For how long rows that were looked up are true.").or("10min");

const POSTGRES_URL: OptionSpec =
    OptionSpec::required("url", Text, "The server: postgres://user:password@host:port/database.");

const POSTGRES_TABLE: OptionSpec =
    OptionSpec::optional("table", Text, "The table there, behind its schema if need be; else the same name.");

/// What a bucket wants to know; else the environment of each process says it.
const BUCKET_KEY_ID: OptionSpec =
    OptionSpec::optional("aws_access_key_id", Text, "Of s3://: the name of the key; else of the environment.");

const BUCKET_KEY: OptionSpec = OptionSpec::optional(
    "aws_secret_access_key",
    Text,
    "Of s3://: the key, best as a SECRET; else of the environment.",
);

const BUCKET_TOKEN: OptionSpec =
    OptionSpec::optional("aws_session_token", Text, "Of s3://: the token of a key that ends, best as a SECRET.");

const BUCKET_REGION: OptionSpec = OptionSpec::optional("aws_region", Text, "Of s3://: the region of the bucket.");

const BUCKET_ENDPOINT: OptionSpec =
    OptionSpec::optional("aws_endpoint", Text, "Of s3://: the URL of a store that is not Amazon's.");

const BUCKET_ALLOW_HTTP: OptionSpec =
    OptionSpec::optional("aws_allow_http", Boolean, "Of s3://: whether the endpoint may be without TLS.");

const BUCKET_HOSTED: OptionSpec = OptionSpec::optional(
    "aws_virtual_hosted_style_request",
    Boolean,
    "Of s3://: whether the bucket is part of the host's name.",
);

const BUCKET_UNSIGNED: OptionSpec =
    OptionSpec::optional("aws_skip_signature", Boolean, "Of s3://: whether a public bucket is read without a key.");

/// Options of every source, whatever its connector: how its time keeps pace with that of others.
pub const SOURCE_OPTIONS: &[OptionSpec] = &[
    OptionSpec::optional(
        "idle_timeout",
        Duration,
        "A source without rows for so long holds the time of others up no more; 0 for never.",
    )
    .or("30s"),
    OptionSpec::optional(
        "watermark_group",
        Text,
        "Sources of one group wait for the slowest of them, so that none runs ahead by more than max_drift.",
    ),
    OptionSpec::optional("max_drift", Duration, "Event time by which a source may be ahead of its group."),
];

/// What connectors have in common whose rows are not looked at when a job begins, and that are no sinks.
const MADE_ROWS: ConnectorSpec = ConnectorSpec {
    name: "",
    doc: "",
    source: None,
    bounds: Bounds::Always,
    makes_rows: true,
    tables: &[],
    sink: None,
    sink_takes_changes: false,
    sink_in_parallel: InParallel::Never,
    sink_takes_key: false,
};

/// All connectors.
pub const CONNECTORS: &[ConnectorSpec] = &[
    ConnectorSpec {
        name: "files",
        doc: "Files on local disk or, as s3://bucket/path, in an object store.",
        source: Some(&[
            OptionSpec::required("path", Text, "A file, a folder, or a glob; relative to the working folder, or s3://bucket/path."),
            OptionSpec::required(
                "format",
                FORMATS,
                "How the files are encoded; debezium-json has changes, upsert-json the last row of each PRIMARY KEY.",
            ),
            OptionSpec::optional("header", Boolean, "Whether the first line names the columns.")
                .or("true")
                .of_format("csv"),
            OptionSpec::optional("delimiter", Delimiter, "The character between fields.").or(",").of_format("csv"),
            OptionSpec::optional(
                "partition_columns",
                Text,
                "Columns that the names of folders below the path say, as in k=1/j=2/, from the outermost on: 'k, j'.",
            ),
            OptionSpec::optional("null_value", Text, "The text that stands for NULL.").or("").of_format("csv"),
            OptionSpec::optional(
                "watch",
                Interval,
                "How often to look for new files, for ever; each is read once, as it is then: rename it once it is complete.",
            ),
            OptionSpec::optional(
                "lookup",
                Boolean,
                "Whether it is a table for FOR SYSTEM_TIME AS OF PROCTIME(), read as a whole, and not a stream.",
            )
            .or("false"),
            LOOKUP_CACHE_TTL,
            STARTUP_MODE,
            ROWS_PER_SECOND,
            NULL_EVENT_TIME,
            BUCKET_KEY_ID,
            BUCKET_KEY,
            BUCKET_TOKEN,
            BUCKET_REGION,
            BUCKET_ENDPOINT,
            BUCKET_ALLOW_HTTP,
            BUCKET_HOSTED,
            BUCKET_UNSIGNED,
        ]),
        bounds: Bounds::Without(&["watch"]),
        makes_rows: false,
        tables: &[],
        sink: Some(&[
            OptionSpec::required("path", Text, "The folder to write part files to, made if it does not exist, or s3://bucket/path."),
            OptionSpec::required(
                "format",
                FORMATS,
                "How the files are encoded; updates need debezium-json, or upsert-json and a PRIMARY KEY.",
            ),
            OptionSpec::optional(
                "codec",
                OneOf(&["snappy", "deflate", "zstd", "none"]),
                "What compresses Avro's blocks.",
            )
            .or("snappy")
            .of_format("avro"),
            BUCKET_KEY_ID,
            BUCKET_KEY,
            BUCKET_TOKEN,
            BUCKET_REGION,
            BUCKET_ENDPOINT,
            BUCKET_ALLOW_HTTP,
            BUCKET_HOSTED,
            BUCKET_UNSIGNED,
        ]),
        sink_takes_changes: false,
        sink_in_parallel: InParallel::Never,
        sink_takes_key: false,
    },
    ConnectorSpec {
        name: "nexmark",
        doc: "The people, auctions and bids of the Nexmark benchmark, generated.",
        source: Some(&[
            OptionSpec::required("table", OneOf(&["person", "auction", "bid"]), "Which rows of the event log."),
            OptionSpec::optional("events", Count, "Events of all tables in the log; without it, it never ends."),
            OptionSpec::optional("event_rate", Count, "Events of all tables in a second of event time.").or("10000"),
            OptionSpec::optional("first_event_time", OptionKind::Timestamp, "The event time of the first event.")
                .or("2023-11-14 22:13:20"),
            OptionSpec::optional("seed", Number, "Another seed is another log.").or("0"),
            ROWS_PER_SECOND,
            NULL_EVENT_TIME,
        ]),
        bounds: Bounds::With(&["events"]),
        tables: NEXMARK,
        ..MADE_ROWS
    },
    ConnectorSpec {
        name: "datagen",
        doc: "Rows of made-up values.",
        source: Some(&[
            OptionSpec::optional("rows", Count, "How many; without it, and without a sequence's end, it never ends."),
            OptionSpec::optional("seed", Number, "Another seed is other values.").or("0"),
            OptionSpec::optional(
                "fields.<column>.kind",
                OneOf(&["random", "sequence"]),
                "How values are made (random; of a TIMESTAMP, sequence).",
            ),
            OptionSpec::optional("fields.<column>.min", Text, "The least random value (0; 2023-11-14 22:13:20)."),
            OptionSpec::optional("fields.<column>.max", Text, "The greatest random value (2147483647; 1.0; min)."),
            OptionSpec::optional("fields.<column>.length", Number, "The letters of a random text.").or("16"),
            OptionSpec::optional("fields.<column>.start", Text, "Where a sequence begins (0; 2023-11-14 22:13:20)."),
            OptionSpec::optional("fields.<column>.step", Text, "From one value of a sequence to the next (1; 1ms)."),
            OptionSpec::optional("fields.<column>.end", Text, "The last number of a sequence, which ends the source."),
            OptionSpec::optional("fields.<column>.null_rate", Text, "How many of the values are NULL, 0 to 1.").or("0"),
            ROWS_PER_SECOND,
            NULL_EVENT_TIME,
        ]),
        bounds: Bounds::With(&["rows", "fields.<column>.end"]),
        ..MADE_ROWS
    },
    ConnectorSpec {
        name: PUSH_CONNECTOR,
        doc: "Rows that clients push by Arrow Flight, in a log of the server: every job reads all that are kept.",
        source: Some(&[MAX_BYTES, RETENTION, RETENTION_BYTES, STARTUP_MODE, ROWS_PER_SECOND, NULL_EVENT_TIME]),
        bounds: Bounds::With(&[]),
        // They are looked at when they are pushed.
        ..MADE_ROWS
    },
    ConnectorSpec {
        name: TABLE_CONNECTOR,
        doc: "Rows that clients push by Arrow Flight, such as adbc_ingest: every job reads those that are there when it begins.",
        source: Some(&[MAX_BYTES, ROWS_PER_SECOND, NULL_EVENT_TIME]),
        bounds: Bounds::Always,
        ..MADE_ROWS
    },
    ConnectorSpec {
        name: "print",
        doc: "Rows on standard output, as they come.",
        source: None,
        bounds: Bounds::Always,
        makes_rows: false,
        tables: &[],
        sink: Some(&[]),
        sink_takes_changes: true,
        sink_in_parallel: InParallel::Never,
        sink_takes_key: false,
    },
    ConnectorSpec {
        name: "blackhole",
        doc: "Nowhere; rows are counted.",
        source: None,
        bounds: Bounds::Always,
        makes_rows: false,
        tables: &[],
        sink: Some(&[OptionSpec::optional(
            "checksum",
            Boolean,
            "Whether to end with a sum over the rows' hashes, which their order does not change.",
        )
        .or("false")]),
        sink_takes_changes: true,
        sink_in_parallel: InParallel::Always,
        sink_takes_key: false,
    },
    ConnectorSpec {
        name: "postgres",
        doc: "A table of a PostgreSQL server, written to, or looked up by key: JOIN t FOR SYSTEM_TIME AS OF PROCTIME().",
        source: Some(&[
            POSTGRES_URL,
            POSTGRES_TABLE,
            OptionSpec::optional("lookup_cache_rows", Count, "How many rows are kept for the next look-ups.")
                .or("10000"),
            LOOKUP_CACHE_TTL,
        ]),
        bounds: Bounds::Always,
        makes_rows: false,
        tables: &[],
        sink: Some(&[
            POSTGRES_URL,
            POSTGRES_TABLE,
            OptionSpec::optional(
                "delivery",
                OneOf(&["exactly_once", "at_least_once"]),
                "Whether rows appear with the checkpoint that covers them, once, or as they come, and again after a restart.",
            )
            .or("exactly_once"),
        ]),
        sink_takes_changes: false,
        sink_in_parallel: InParallel::WithoutKey,
        sink_takes_key: true,
    },
];

const TIME: DataType = Timestamp(TimeUnit::Microsecond, None);

const fn column(name: &'static str, data_type: DataType) -> KnownColumn {
    KnownColumn { name, data_type }
}

const NEXMARK: &[KnownTable] = &[
    KnownTable {
        name: "person",
        columns: &[
            column("id", Int64),
            column("name", Utf8),
            column("email_address", Utf8),
            column("credit_card", Utf8),
            column("city", Utf8),
            column("state", Utf8),
            column("date_time", TIME),
            column("extra", Utf8),
        ],
    },
    KnownTable {
        name: "auction",
        columns: &[
            column("id", Int64),
            column("item_name", Utf8),
            column("description", Utf8),
            column("initial_bid", Int64),
            column("reserve", Int64),
            column("date_time", TIME),
            column("expires", TIME),
            column("seller", Int64),
            column("category", Int64),
            column("extra", Utf8),
        ],
    },
    KnownTable {
        name: "bid",
        columns: &[
            column("auction", Int64),
            column("bidder", Int64),
            column("price", Int64),
            column("channel", Utf8),
            column("url", Utf8),
            column("date_time", TIME),
            column("extra", Utf8),
        ],
    },
];
