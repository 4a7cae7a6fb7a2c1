//! What clients ask about the server and its types.

use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{
    Nullable, Searchable, SqlInfo, SqlNullOrdering, SqlSupportedCaseSensitivity, SqlSupportedGroupBy,
    SqlSupportedSubqueries, SqlSupportedTransaction, SqlSupportedUnions, SqlTransactionIsolationLevel, XdbcDataType,
};

type Result<T, E = FlightError> = std::result::Result<T, E>;

/// What is true of this server.
pub(super) fn sql_info() -> Result<SqlInfoData> {
    let mut info = SqlInfoDataBuilder::new();
    info.append(SqlInfo::FlightSqlServerName, "Tidemill");
    info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    info.append(SqlInfo::FlightSqlServerArrowVersion, arrow::ARROW_VERSION);
    for (name, is_so) in FACTS {
        info.append(*name, *is_so);
    }
    info.append(SqlInfo::FlightSqlServerSubstraitMinVersion, SUBSTRAIT_VERSIONS[0]);
    info.append(SqlInfo::FlightSqlServerSubstraitMaxVersion, SUBSTRAIT_VERSIONS[1]);
    info.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::None as i32);
    info.append(SqlInfo::FlightSqlServerStatementTimeout, 0);
    info.append(SqlInfo::FlightSqlServerTransactionTimeout, 0);
    info.append(SqlInfo::SqlIdentifierCase, SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i64);
    info.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    info.append(SqlInfo::SqlNullOrdering, SqlNullOrdering::SqlNullsSortedHigh as i64);
    info.append(SqlInfo::SqlSearchStringEscape, "\\");
    info.append(SqlInfo::SqlSupportedGroupBy, bits(&[SqlSupportedGroupBy::SqlGroupByBeyondSelect as i32]));
    info.append(SqlInfo::SqlSchemaTerm, "schema");
    info.append(SqlInfo::SqlCatalogTerm, "catalog");
    info.append(
        SqlInfo::SqlSupportedSubqueries,
        bits(&[
            SqlSupportedSubqueries::SqlSubqueriesInExists as i32,
            SqlSupportedSubqueries::SqlSubqueriesInIns as i32,
        ]),
    );
    info.append(SqlInfo::SqlSupportedUnions, bits(&[SqlSupportedUnions::SqlUnionAll as i32]));
    info.append(SqlInfo::SqlDefaultTransactionIsolation, SqlTransactionIsolationLevel::SqlTransactionNone as i64);
    info.build()
}

/// The least and the greatest version of Substrait whose plans are read. In older ones functions have arguments of
/// another kind; in newer ones there may be relations that are refused by name.
const SUBSTRAIT_VERSIONS: [&str; 2] = ["0.20.0", "0.85.0"];

/// What can be answered with yes or no.
const FACTS: &[(SqlInfo, bool)] = &[
    (SqlInfo::FlightSqlServerReadOnly, false),
    (SqlInfo::FlightSqlServerSql, true),
    (SqlInfo::FlightSqlServerSubstrait, true),
    (SqlInfo::FlightSqlServerCancel, true),
    (SqlInfo::FlightSqlServerBulkIngestion, true),
    (SqlInfo::FlightSqlServerIngestTransactionsSupported, false),
    (SqlInfo::SqlDdlCatalog, false),
    (SqlInfo::SqlDdlSchema, false),
    (SqlInfo::SqlDdlTable, true),
    // Of a sink nothing is selected.
    (SqlInfo::SqlAllTablesAreSelectable, false),
    (SqlInfo::SqlSupportsColumnAliasing, true),
    (SqlInfo::SqlNullPlusNullIsNull, true),
    (SqlInfo::SqlSupportsTableCorrelationNames, true),
    (SqlInfo::SqlSupportsDifferentTableCorrelationNames, false),
    (SqlInfo::SqlSupportsExpressionsInOrderBy, false),
    (SqlInfo::SqlSupportsOrderByUnrelated, false),
    (SqlInfo::SqlSupportsLikeEscapeClause, true),
    (SqlInfo::SqlSupportsNonNullableColumns, true),
    (SqlInfo::SqlSupportsIntegrityEnhancementFacility, false),
    (SqlInfo::SqlCatalogAtStart, true),
    (SqlInfo::SqlSelectForUpdateSupported, false),
    (SqlInfo::SqlStoredProceduresSupported, false),
    (SqlInfo::SqlCorrelatedSubqueriesSupported, true),
    (SqlInfo::SqlTransactionsSupported, false),
    (SqlInfo::SqlDataDefinitionCausesTransactionCommit, false),
    (SqlInfo::SqlDataDefinitionsInTransactionsIgnored, false),
    (SqlInfo::SqlBatchUpdatesSupported, false),
    (SqlInfo::SqlSavepointsSupported, false),
    (SqlInfo::SqlNamedParametersSupported, false),
    (SqlInfo::SqlLocatorsUpdateCopy, false),
    (SqlInfo::SqlStoredFunctionsUsingCallSyntaxSupported, false),
];

/// The bits of a mask.
fn bits(values: &[i32]) -> i32 {
    values.iter().fold(0, |mask, value| mask | (1 << value))
}

/// The types that a column can be declared with, apart from lists and structs.
pub(super) fn types() -> Result<XdbcTypeInfoData> {
    let mut builder = XdbcTypeInfoDataBuilder::new();
    for (name, data_type, size, radix) in NUMBERS {
        builder.append(XdbcTypeInfo {
            unsigned_attribute: Some(false),
            auto_increment: Some(false),
            num_prec_radix: Some(*radix),
            ..type_of(name, *data_type, *size)
        });
    }
    for (name, data_type, size, quotes) in OTHERS {
        builder.append(XdbcTypeInfo {
            literal_prefix: quotes.map(|(prefix, _)| prefix.to_owned()),
            literal_suffix: quotes.map(|(_, suffix)| suffix.to_owned()),
            case_sensitive: *data_type == XdbcDataType::XdbcVarchar,
            ..type_of(name, *data_type, *size)
        });
    }
    builder.build()
}

const NUMBERS: &[(&str, XdbcDataType, Option<i32>, i32)] = &[
    ("TINYINT", XdbcDataType::XdbcTinyint, Some(8), 2),
    ("SMALLINT", XdbcDataType::XdbcSmallint, Some(16), 2),
    ("INTEGER", XdbcDataType::XdbcInteger, Some(32), 2),
    ("BIGINT", XdbcDataType::XdbcBigint, Some(64), 2),
    ("REAL", XdbcDataType::XdbcReal, Some(24), 2),
    ("DOUBLE", XdbcDataType::XdbcDouble, Some(53), 2),
    ("DECIMAL", XdbcDataType::XdbcDecimal, Some(38), 10),
];

/// What stands around a literal.
type Quotes = Option<(&'static str, &'static str)>;

const OTHERS: &[(&str, XdbcDataType, Option<i32>, Quotes)] = &[
    ("BOOLEAN", XdbcDataType::XdbcBit, Some(1), None),
    ("VARCHAR", XdbcDataType::XdbcVarchar, None, Some(("'", "'"))),
    ("BYTEA", XdbcDataType::XdbcVarbinary, None, Some(("X'", "'"))),
    ("DATE", XdbcDataType::XdbcDate, Some(10), Some(("DATE '", "'"))),
    ("TIME", XdbcDataType::XdbcTime, Some(15), Some(("TIME '", "'"))),
    ("TIMESTAMP", XdbcDataType::XdbcTimestamp, Some(26), Some(("TIMESTAMP '", "'"))),
];

fn type_of(name: &str, data_type: XdbcDataType, size: Option<i32>) -> XdbcTypeInfo {
    XdbcTypeInfo {
        type_name: name.to_owned(),
        data_type,
        column_size: size,
        nullable: Nullable::NullabilityNullable,
        searchable: Searchable::Full,
        local_type_name: Some(name.to_owned()),
        sql_data_type: data_type,
        ..XdbcTypeInfo::default()
    }
}
