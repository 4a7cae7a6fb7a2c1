// Sums over rows: of the columns of stretches of rows, and of rows in any order.
//
// A workgroup has 64 threads: some vectors of columns side by side, and below each other as many rows as that leaves.

const LANES: u32 = 64u;
// Of f32. WGSL need not know infinities, and no number is as large: they are at most 2^48.
const LARGEST: f32 = 3.4e38;

struct Shape {
    rows: u32,
    // Of a row.
    vectors: u32,
    // Stretches of rows, and rows of one; or pieces of the order.
    stretches: u32,
    stretch_rows: u32,
    // Vectors side by side, a power of two, and how often they fit into a row.
    across: u32,
    blocks: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> values: array<vec4<f32>>;
// Of `columns`, for each stretch a row of sums, one of squares, of smallest and of largest numbers; of `pieces`, for each
// piece a row of sums.
@group(0) @binding(2) var<storage, read_write> result: array<vec4<f32>>;
// Rows in the order of the pieces, and where each of these begins and ends.
@group(0) @binding(3) var<storage, read> order: array<u32>;
@group(0) @binding(4) var<storage, read> pieces: array<vec2<u32>>;

var<workgroup> sums: array<vec4<f32>, 64>;
var<workgroup> squares: array<vec4<f32>, 64>;
var<workgroup> smallest: array<vec4<f32>, 64>;
var<workgroup> largest: array<vec4<f32>, 64>;

@compute @workgroup_size(64)
fn columns(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * groups.x + group.x;
    let stretch = index / shape.blocks;
    // The same for all threads of the group, so all of them leave.
    if (stretch >= shape.stretches) {
        return;
    }
    let vector = index % shape.blocks * shape.across + lane % shape.across;
    let down = LANES / shape.across;
    let end = min((stretch + 1u) * shape.stretch_rows, shape.rows);
    var sum = vec4<f32>();
    var square = vec4<f32>();
    var low = vec4<f32>(LARGEST);
    var high = vec4<f32>(-LARGEST);
    if (vector < shape.vectors) {
        for (var row = stretch * shape.stretch_rows + lane / shape.across; row < end; row += down) {
            let value = values[row * shape.vectors + vector];
            sum += value;
            square += value * value;
            low = min(low, value);
            high = max(high, value);
        }
    }
    sums[lane] = sum;
    squares[lane] = square;
    smallest[lane] = low;
    largest[lane] = high;
    workgroupBarrier();
    if (lane < shape.across && vector < shape.vectors) {
        for (var place = lane + shape.across; place < LANES; place += shape.across) {
            sum += sums[place];
            square += squares[place];
            low = min(low, smallest[place]);
            high = max(high, largest[place]);
        }
        let into = stretch * 4u * shape.vectors + vector;
        result[into] = sum;
        result[into + shape.vectors] = square;
        result[into + 2u * shape.vectors] = low;
        result[into + 3u * shape.vectors] = high;
    }
}

@compute @workgroup_size(64)
fn ordered(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * groups.x + group.x;
    let number = index / shape.blocks;
    if (number >= shape.stretches) {
        return;
    }
    let vector = index % shape.blocks * shape.across + lane % shape.across;
    let down = LANES / shape.across;
    let piece = pieces[number];
    var sum = vec4<f32>();
    if (vector < shape.vectors) {
        for (var place = piece.x + lane / shape.across; place < piece.y; place += down) {
            sum += values[order[place] * shape.vectors + vector];
        }
    }
    sums[lane] = sum;
    workgroupBarrier();
    if (lane < shape.across && vector < shape.vectors) {
        for (var place = lane + shape.across; place < LANES; place += shape.across) {
            sum += sums[place];
        }
        result[number * shape.vectors + vector] = sum;
    }
}
