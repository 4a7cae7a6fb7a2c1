//! Puts a graph together, node by node.

use prost::Message;

use super::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, ShapeProto,
    StringStringEntryProto, TensorProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

/// The version of the file's format that has these operators.
const IR_VERSION: i64 = 8;

const OPERATORS_VERSION: i64 = 17;

/// Where operators of machine learning are.
const ML_DOMAIN: &str = "ai.onnx.ml";

const ML_VERSION: i64 = 3;

/// The name of how many rows there are.
const ROWS: &str = "rows";

/// What the elements of a tensor are, by ONNX's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    Int64 = 7,
    String = 8,
    Bool = 9,
    Double = 11,
}

/// The kinds of attributes, by ONNX's numbers.
#[derive(Debug, Clone, Copy)]
enum AttributeKind {
    Int = 2,
    String = 3,
    Tensor = 4,
    Ints = 7,
    Strings = 8,
}

/// What a node makes, or a constant: its name in the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value(String);

/// What is known of a node beside its inputs.
#[derive(Debug, Clone)]
pub(crate) struct Attribute(AttributeProto);

impl Attribute {
    fn of_kind(name: &str, kind: AttributeKind) -> AttributeProto {
        AttributeProto { name: name.to_owned(), r#type: kind as i32, ..AttributeProto::default() }
    }

    pub(crate) fn int(name: &str, value: i64) -> Self {
        Self(AttributeProto { i: value, ..Self::of_kind(name, AttributeKind::Int) })
    }

    pub(crate) fn text(name: &str, value: &str) -> Self {
        Self(AttributeProto { s: value.as_bytes().to_vec(), ..Self::of_kind(name, AttributeKind::String) })
    }

    pub(crate) fn ints(name: &str, values: Vec<i64>) -> Self {
        Self(AttributeProto { ints: values, ..Self::of_kind(name, AttributeKind::Ints) })
    }

    pub(crate) fn texts(name: &str, values: Vec<String>) -> Self {
        let strings = values.into_iter().map(String::into_bytes).collect();
        Self(AttributeProto { strings, ..Self::of_kind(name, AttributeKind::Strings) })
    }

    /// A list of doubles, where the attribute of the plain name has floats.
    pub(crate) fn doubles(name: &str, values: Vec<f64>) -> Self {
        let tensor = tensor_of_doubles(&[values.len()], values);
        Self(AttributeProto { t: Some(tensor), ..Self::of_kind(name, AttributeKind::Tensor) })
    }
}

/// A graph that is being put together.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    graph: GraphProto,
    properties: Vec<StringStringEntryProto>,
    /// Names given so far.
    names: usize,
}

impl Graph {
    /// An input of one column: rows × 1.
    pub(crate) fn input(&mut self, name: &str, element: Element) -> Value {
        self.graph.input.push(value_info(name, element, 1));
        Value(name.to_owned())
    }

    /// Calls a value an output: rows × `columns`.
    pub(crate) fn output(&mut self, name: &str, value: &Value, element: Element, columns: usize) {
        self.graph.node.push(NodeProto {
            input: vec![value.0.clone()],
            output: vec![name.to_owned()],
            op_type: String::from("Identity"),
            ..NodeProto::default()
        });
        self.graph.output.push(value_info(name, element, columns));
    }

    /// What a reader may know of the model.
    pub(crate) fn property(&mut self, key: &str, value: String) {
        self.properties.push(StringStringEntryProto { key: key.to_owned(), value });
    }

    pub(crate) fn node<const N: usize>(&mut self, operator: &str, inputs: [&Value; N]) -> Value {
        self.node_with(operator, &inputs, [])
    }

    pub(crate) fn node_with<const N: usize>(
        &mut self,
        operator: &str,
        inputs: &[&Value],
        attributes: [Attribute; N],
    ) -> Value {
        self.push("", operator, inputs, attributes)
    }

    /// A node of machine learning.
    pub(crate) fn ml_node<const N: usize>(
        &mut self,
        operator: &str,
        input: &Value,
        attributes: [Attribute; N],
    ) -> Value {
        self.push(ML_DOMAIN, operator, &[input], attributes)
    }

    fn push<const N: usize>(
        &mut self,
        domain: &str,
        operator: &str,
        inputs: &[&Value],
        attributes: [Attribute; N],
    ) -> Value {
        let made = self.name(operator);
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|input| input.0.clone()).collect(),
            output: vec![made.0.clone()],
            op_type: operator.to_owned(),
            attribute: attributes.into_iter().map(|attribute| attribute.0).collect(),
            domain: domain.to_owned(),
        });
        made
    }

    /// Columns beside each other; none of none.
    pub(crate) fn beside(&mut self, values: &[Value]) -> Option<Value> {
        match values {
            [] => None,
            [only] => Some(only.clone()),
            many => {
                let many: Vec<_> = many.iter().collect();
                Some(self.node_with("Concat", &many, [Attribute::int("axis", 1)]))
            }
        }
    }

    /// A constant of this shape, row by row.
    pub(crate) fn doubles(&mut self, shape: &[usize], values: Vec<f64>) -> Value {
        self.constant(tensor_of_doubles(shape, values))
    }

    pub(crate) fn double(&mut self, value: f64) -> Value {
        self.doubles(&[], vec![value])
    }

    pub(crate) fn ints(&mut self, values: Vec<i64>) -> Value {
        let tensor = TensorProto { int64_data: values, ..TensorProto::default() };
        let shape = [tensor.int64_data.len()];
        self.constant(shaped(&shape, Element::Int64, tensor))
    }

    pub(crate) fn texts(&mut self, values: &[String]) -> Value {
        let string_data = values.iter().map(|text| text.as_bytes().to_vec()).collect();
        let tensor = TensorProto { string_data, ..TensorProto::default() };
        self.constant(shaped(&[values.len()], Element::String, tensor))
    }

    fn constant(&mut self, tensor: TensorProto) -> Value {
        let name = self.name("constant");
        self.graph.initializer.push(TensorProto { name: name.0.clone(), ..tensor });
        name
    }

    /// Changes the elements of a tensor into others.
    pub(crate) fn cast(&mut self, value: &Value, to: Element) -> Value {
        self.node_with("Cast", &[value], [Attribute::int("to", to as i64)])
    }

    /// A name that no feature has: a space before it, with which SQL's names do not begin unless they are quoted.
    fn name(&mut self, of: &str) -> Value {
        self.names += 1;
        Value(format!(" {of}:{}", self.names))
    }

    /// The whole file.
    pub(crate) fn into_file(self) -> Vec<u8> {
        let version = |domain: &str, version| OperatorSetIdProto { domain: domain.to_owned(), version };
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: String::from("tidemill"),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(GraphProto { name: String::from("model"), ..self.graph }),
            opset_import: vec![version("", OPERATORS_VERSION), version(ML_DOMAIN, ML_VERSION)],
            metadata_props: self.properties,
        };
        model.encode_to_vec()
    }
}

fn tensor_of_doubles(shape: &[usize], values: Vec<f64>) -> TensorProto {
    shaped(shape, Element::Double, TensorProto { double_data: values, ..TensorProto::default() })
}

fn shaped(shape: &[usize], element: Element, tensor: TensorProto) -> TensorProto {
    TensorProto { dims: shape.iter().map(|size| *size as i64).collect(), data_type: element as i32, ..tensor }
}

fn value_info(name: &str, element: Element, columns: usize) -> ValueInfoProto {
    let dim = vec![
        DimensionProto { dim_param: ROWS.to_owned(), ..DimensionProto::default() },
        DimensionProto { dim_value: columns as i64, ..DimensionProto::default() },
    ];
    let tensor_type = Some(TensorTypeProto { elem_type: element as i32, shape: Some(ShapeProto { dim }) });
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type }) }
}
