// Sums over stretches of rows of their numbers times the first derivative of their losses, and of their squares times the
// second.
//
// Threads are as in columns.wgsl.

const LANES: u32 = 64u;

struct Shape {
    rows: u32,
    // Of a row.
    vectors: u32,
    stretches: u32,
    stretch_rows: u32,
    // Vectors side by side, a power of two, and how often they fit into a row.
    across: u32,
    blocks: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> matrix: array<vec4<f32>>;
// For each row the first and the second derivative, and the loss.
@group(0) @binding(2) var<storage, read> losses: array<vec4<f32>>;
// For each stretch a row of gradients, and one of second derivatives.
@group(0) @binding(3) var<storage, read_write> result: array<vec4<f32>>;

var<workgroup> gradients: array<vec4<f32>, 64>;
var<workgroup> seconds: array<vec4<f32>, 64>;

@compute @workgroup_size(64)
fn gradient(
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
    var first = vec4<f32>();
    var second = vec4<f32>();
    if (vector < shape.vectors) {
        for (var row = stretch * shape.stretch_rows + lane / shape.across; row < end; row += down) {
            let value = matrix[row * shape.vectors + vector];
            let loss = losses[row];
            first += loss.x * value;
            second += loss.y * (value * value);
        }
    }
    gradients[lane] = first;
    seconds[lane] = second;
    workgroupBarrier();
    if (lane < shape.across && vector < shape.vectors) {
        for (var place = lane + shape.across; place < LANES; place += shape.across) {
            first += gradients[place];
            second += seconds[place];
        }
        let into = stretch * 2u * shape.vectors + vector;
        result[into] = first;
        result[into + shape.vectors] = second;
    }
}
