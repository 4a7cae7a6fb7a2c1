// Rows of a matrix by their numbers; one that there is not is zeros.

const LANES: u32 = 64u;

struct Shape {
    rows: u32,
    // Of a row.
    vectors: u32,
    // Of all rows that are asked for.
    asked: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> matrix: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read_write> result: array<vec4<f32>>;

@compute @workgroup_size(64)
fn gather(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let place = (group.y * groups.x + group.x) * LANES + lane;
    if (place >= shape.asked) {
        return;
    }
    let row = rows[place / shape.vectors];
    var value = vec4<f32>();
    if (row < shape.rows) {
        value = matrix[row * shape.vectors + place % shape.vectors];
    }
    result[place] = value;
}
