//! TUMBLE, HOP, CUMULATE and SESSION in FROM, and what asks models. Arguments stand in Flink's order or are named.

use arrow::datatypes::Schema;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Spanned, TableFactor,
};
use datafusion::sql::sqlparser::tokenizer::Span;
use tidemill_plans::node::WindowSpec;

use super::QueryPlanner;
use super::expression::plan_expression;
use super::source::column_names;
use crate::ast::{dotted, normalize, plain_name};
use crate::dialect::{MODEL_MARKER, PARTITION_MARKER, TABLE_MARKER};
use crate::error::{Result, SqlError};
use crate::interval::literal_micros;
use crate::lower::scan::Leaf;
use crate::lower::stream::{Stream, WindowKind};

/// The table functions, as messages name them.
pub(crate) const TABLE_FUNCTIONS: &str =
    "TUMBLE, HOP, CUMULATE, SESSION, ML.PREDICT, ML.EVALUATE and other functions of ML";

/// How many windows may hold one row: a day every 10 seconds, a week every minute.
const WINDOWS_A_ROW_MAX: i64 = 10_080;

const TUMBLE: &str = "TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1 hour' [, offset])";
const HOP: &str = "HOP(TABLE t, DESCRIPTOR(ts), slide INTERVAL '1 hour', size INTERVAL '6 hours' [, offset])";
const CUMULATE: &str = "CUMULATE(TABLE t, DESCRIPTOR(ts), step INTERVAL '1 hour', size INTERVAL '1 day' [, offset])";
const SESSION: &str = "SESSION(TABLE t PARTITION BY k, DESCRIPTOR(ts), gap INTERVAL '5 minutes')";
pub(crate) const PREDICT: &str = "ML.PREDICT(MODEL m, TABLE t), or a query in place of TABLE t";
pub(crate) const MAKE_FEATURES: &str = "ML.TRANSFORM(MODEL m, TABLE t), or a query in place of TABLE t";

impl QueryPlanner<'_> {
    pub(super) fn replace_table_function(&mut self, factor: &mut TableFactor) -> Result<()> {
        if let Some((leaf, alias)) = self.asked_model(factor)? {
            self.put_leaf(factor, leaf, alias);
            return Ok(());
        }
        let TableFactor::Table { name, args: Some(args), .. } = &*factor else { return Ok(()) };
        let function = dotted(name);
        let arguments = args.args.clone();
        let leaf = match function.as_str() {
            "tumble" => self.tumble(&arguments)?,
            "hop" => self.hop(&arguments)?,
            "cumulate" => self.cumulate(&arguments)?,
            "session" => self.session(&arguments)?,
            _ => {
                let hint = format!("FROM takes {TABLE_FUNCTIONS}");
                let what = String::from("table function");
                return Err(SqlError::Unknown { at: name.span().into(), what, name: function, hint });
            }
        };
        let alias = function.rsplit('.').next().unwrap_or(&function).to_owned();
        self.put_leaf(factor, leaf, &alias);
        Ok(())
    }

    fn tumble(&mut self, arguments: &[FunctionArg]) -> Result<Leaf> {
        let given = assign(arguments, &["data", "timecol", "size", "offset"], TUMBLE)?;
        let size = length(required(&given, 2, "SIZE", TUMBLE)?)?;
        let offset = given.get(3).copied().flatten().map_or(Ok(0), micros)?;
        self.fixed(&given, WindowSpec::Tumble { size, offset }, TUMBLE)
    }

    fn hop(&mut self, arguments: &[FunctionArg]) -> Result<Leaf> {
        let given = assign(arguments, &["data", "timecol", "slide", "size", "offset"], HOP)?;
        let slide = length(required(&given, 2, "SLIDE", HOP)?)?;
        let size = length(required(&given, 3, "SIZE", HOP)?)?;
        let offset = given.get(4).copied().flatten().map_or(Ok(0), micros)?;
        check_count(slide, size, "slide").map_err(|error| error.at(span_of(&given, 2)))?;
        self.fixed(&given, WindowSpec::Hop { slide, size, offset }, HOP)
    }

    fn cumulate(&mut self, arguments: &[FunctionArg]) -> Result<Leaf> {
        let given = assign(arguments, &["data", "timecol", "step", "size", "offset"], CUMULATE)?;
        let step = length(required(&given, 2, "STEP", CUMULATE)?)?;
        let size = length(required(&given, 3, "SIZE", CUMULATE)?)?;
        let offset = given.get(4).copied().flatten().map_or(Ok(0), micros)?;
        if size % step != 0 {
            let message = "the size of CUMULATE must be a multiple of its step";
            return Err(SqlError::invalid(message).at(span_of(&given, 3)));
        }
        check_count(step, size, "step").map_err(|error| error.at(span_of(&given, 2)))?;
        self.fixed(&given, WindowSpec::Cumulate { step, size, offset }, CUMULATE)
    }

    fn session(&mut self, arguments: &[FunctionArg]) -> Result<Leaf> {
        let given = assign(arguments, &["data", "timecol", "gap"], SESSION)?;
        let gap = length(required(&given, 2, "GAP", SESSION)?)?;
        let (data, columns) = partitioned(required(&given, 0, "DATA", SESSION)?);
        let stream = self.argument_stream(&data, SESSION)?;
        let keys = columns.iter().map(|column| partition_key(&stream, column)).collect::<Result<_>>()?;
        let descriptor = required(&given, 1, "TIMECOL", SESSION)?;
        let time = descriptor_time(&stream, descriptor, &data, SESSION)?;
        Leaf::windowed(stream, WindowKind::Session { gap, keys }, time)
    }

    fn fixed(&mut self, given: &[Option<&Expr>], window: WindowSpec, usage: &str) -> Result<Leaf> {
        let data = required(given, 0, "DATA", usage)?;
        let stream = self.argument_stream(data, usage)?;
        let descriptor = required(given, 1, "TIMECOL", usage)?;
        let time = descriptor_time(&stream, descriptor, data, usage)?;
        Leaf::windowed(stream, WindowKind::Fixed(window), time)
    }

    /// The stream of `TABLE t`, a plain name or a subquery.
    pub(super) fn argument_stream(&mut self, argument: &Expr, usage: &str) -> Result<Stream> {
        match argument {
            Expr::Prefixed { prefix, value } if prefix.value == TABLE_MARKER => self.argument_stream(value, usage),
            Expr::Prefixed { prefix, .. } if prefix.value == PARTITION_MARKER => {
                let hint = "only SESSION takes it; GROUP BY puts other windows' rows together";
                Err(SqlError::unsupported("PARTITION BY here", hint).at(prefix.span))
            }
            Expr::Identifier(name) => self.named_stream(name),
            Expr::Subquery(query) => self.subquery_stream(query),
            Expr::Nested(inner) => self.argument_stream(inner, usage),
            _ => Err(wrong_call(usage).at(argument.span())),
        }
    }
}

/// The model and the rows of a call that is to be like `usage`.
pub(crate) fn predict_arguments<'a>(arguments: &'a [FunctionArg], usage: &str) -> Result<(&'a Ident, &'a Expr)> {
    model_and_rows(arguments.iter(), usage)
}

/// The model and the rows that are all arguments of a call.
pub(crate) fn model_and_rows<'a>(
    arguments: impl Iterator<Item = &'a FunctionArg>,
    usage: &str,
) -> Result<(&'a Ident, &'a Expr)> {
    let (mut model, mut data) = (None, None);
    for argument in arguments {
        let (_, expr) = named(argument, usage)?;
        let slot = match expr {
            Expr::Prefixed { prefix, .. } if prefix.value == MODEL_MARKER => &mut model,
            _ => &mut data,
        };
        if slot.replace(expr).is_some() {
            return Err(wrong_call(usage).at(expr.span()));
        }
    }
    let (Some(Expr::Prefixed { value, .. }), Some(data)) = (model, data) else { return Err(wrong_call(usage)) };
    let Expr::Identifier(model) = value.as_ref() else {
        let hint = "name the model alone; every row gets the version that belongs to its time";
        return Err(SqlError::unsupported(format!("model '{value}'"), hint).at(value.span()));
    };
    Ok((model, data))
}

pub(crate) fn wrong_call(usage: &str) -> SqlError {
    SqlError::invalid(format!("wrong arguments; write {usage}"))
}

fn required<'a>(given: &[Option<&'a Expr>], index: usize, name: &str, usage: &str) -> Result<&'a Expr> {
    let argument = given.get(index).copied().flatten();
    argument.ok_or_else(|| SqlError::invalid(format!("the argument {name} is missing; write {usage}")))
}

/// Takes `TABLE t PARTITION BY (a, b)` apart.
fn partitioned(data: &Expr) -> (Expr, Vec<Ident>) {
    if let Expr::Prefixed { prefix, value } = data
        && prefix.value == TABLE_MARKER
        && let Expr::Prefixed { prefix, value } = value.as_ref()
        && prefix.value == PARTITION_MARKER
        && let Expr::Tuple(parts) = value.as_ref()
        && let Some((table, columns)) = parts.split_first()
    {
        let ident = |column: &Expr| match column {
            Expr::Identifier(ident) => Some(ident.clone()),
            _ => None,
        };
        return (table.clone(), columns.iter().filter_map(ident).collect());
    }
    (data.clone(), Vec::new())
}

/// The index of a column that PARTITION BY names.
fn partition_key(stream: &Stream, column: &Ident) -> Result<usize> {
    stream.schema().index_of(&normalize(column)).map_err(|_| {
        let names = column_names(stream.schema());
        let message = format!("PARTITION BY names the column '{column}'; there are: {names}");
        SqlError::invalid(message).at(column.span)
    })
}

/// An argument's name, if it has one, and value.
fn named<'a>(argument: &'a FunctionArg, usage: &str) -> Result<(Option<String>, &'a Expr)> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok((None, expr)),
        FunctionArg::Named { name, arg: FunctionArgExpr::Expr(expr), .. } => Ok((Some(normalize(name)), expr)),
        _ => Err(wrong_call(usage)),
    }
}

/// Puts arguments in the order of `parameters`.
fn assign<'a>(arguments: &'a [FunctionArg], parameters: &[&str], usage: &str) -> Result<Vec<Option<&'a Expr>>> {
    let mut given = vec![None; parameters.len()];
    for (position, argument) in arguments.iter().enumerate() {
        let (name, expr) = named(argument, usage)?;
        let index = match &name {
            Some(name) => parameters.iter().position(|parameter| parameter == name),
            None => Some(position).filter(|position| *position < parameters.len()),
        };
        let free = index.and_then(|index| given.get_mut(index)).filter(|slot| slot.is_none());
        *free.ok_or_else(|| wrong_call(usage).at(expr.span()))? = Some(expr);
    }
    Ok(given)
}

/// Refuses a slide or step so short that each row would be in more windows than anyone wants to pay for.
fn check_count(period: i64, size: i64, what: &str) -> Result<()> {
    let windows = size / period;
    if windows <= WINDOWS_A_ROW_MAX {
        return Ok(());
    }
    let message =
        format!("a row would be in {windows} windows; the limit is {WINDOWS_A_ROW_MAX}: take a longer {what}");
    Err(SqlError::invalid(message))
}

fn span_of(given: &[Option<&Expr>], index: usize) -> Span {
    given.get(index).copied().flatten().map_or_else(Span::empty, Spanned::span)
}

/// A window's length or slide: an interval above zero.
pub(crate) fn length(expr: &Expr) -> Result<i64> {
    let micros = micros(expr)?;
    if micros > 0 {
        return Ok(micros);
    }
    Err(SqlError::invalid(format!("a window's length must be above zero, not {expr}")).at(expr.span()))
}

/// The microseconds of an interval of fixed length.
pub(crate) fn micros(expr: &Expr) -> Result<i64> {
    let planned = plan_expression(expr.clone(), &Schema::empty()).map_err(|error| error.at(expr.span()))?;
    literal_micros(&planned).ok_or_else(|| {
        let message = format!("expected an interval of fixed length such as INTERVAL '1 hour', found {expr}");
        SqlError::invalid(message).at(expr.span())
    })
}

/// The index of the column that DESCRIPTOR names, which must be event time.
fn descriptor_time(stream: &Stream, descriptor: &Expr, data: &Expr, usage: &str) -> Result<usize> {
    let Some(column) = descriptor_column(descriptor) else { return Err(wrong_call(usage).at(descriptor.span())) };
    let info = &stream.info;
    if info.times.is_empty() {
        let message = format!(
            "{data} has no event-time column: declare WATERMARK FOR in its source, and keep the column in the query"
        );
        return Err(SqlError::invalid(message).at(data.span()));
    }
    let time = info.times.iter().copied().find(|time| info.schema.field(*time).name() == &column);
    time.ok_or_else(|| {
        let valid = info.time_names().join(" or ");
        SqlError::invalid(format!("'{column}' is not an event-time column; DESCRIPTOR takes {valid} here"))
            .at(descriptor.span())
    })
}

fn descriptor_column(descriptor: &Expr) -> Option<String> {
    let Expr::Function(function) = descriptor else { return None };
    let FunctionArguments::List(list) = &function.args else { return None };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(column))] if dotted(&function.name) == "descriptor" => {
            plain_name(column)
        }
        _ => None,
    }
}
