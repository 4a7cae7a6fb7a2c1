// The product of two matrices whose rows are padded with zeros to whole vectors.
//
// A workgroup has 64 rows and 64 columns of the result, a thread four rows and a vector of columns; 16 places of the
// sum at a time are in the workgroup's memory.

const TILE: u32 = 64u;
const DEPTH: u32 = 16u;
// Numbers between two places of the left tile: a few more than its rows, so that threads write to different banks.
const LEFT_STRIDE: u32 = 68u;

struct Shape {
    rows: u32,
    // Places that are summed over: columns of the left matrix, rows of the right one.
    places: u32,
    // Vectors of a row of the left matrix, and of the right one and the result.
    left_vectors: u32,
    right_vectors: u32,
    // Workgroups side by side.
    tiles_across: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> left: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> right: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> result: array<vec4<f32>>;

var<workgroup> left_tile: array<f32, 1088>; // DEPTH * LEFT_STRIDE
var<workgroup> right_tile: array<vec4<f32>, 256>; // DEPTH * TILE / 4

@compute @workgroup_size(256)
fn product(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * groups.x + group.x;
    let first_row = index / shape.tiles_across * TILE;
    let first_vector = index % shape.tiles_across * (TILE / 4u);
    let across = lane % 16u;
    let down = lane / 16u;
    var sums: array<vec4<f32>, 4>;
    for (var place = 0u; place < shape.places; place += DEPTH) {
        var numbers = vec4<f32>();
        let left_row = first_row + lane / 4u;
        let left_vector = place / 4u + lane % 4u;
        if (left_row < shape.rows && left_vector < shape.left_vectors) {
            numbers = left[left_row * shape.left_vectors + left_vector];
        }
        let into = lane % 4u * 4u * LEFT_STRIDE + lane / 4u;
        left_tile[into] = numbers.x;
        left_tile[into + LEFT_STRIDE] = numbers.y;
        left_tile[into + 2u * LEFT_STRIDE] = numbers.z;
        left_tile[into + 3u * LEFT_STRIDE] = numbers.w;
        numbers = vec4<f32>();
        if (place + down < shape.places && first_vector + across < shape.right_vectors) {
            numbers = right[(place + down) * shape.right_vectors + first_vector + across];
        }
        right_tile[lane] = numbers;
        workgroupBarrier();
        for (var depth = 0u; depth < DEPTH; depth++) {
            let columns = right_tile[depth * 16u + across];
            let from_place = depth * LEFT_STRIDE + down * 4u;
            sums[0] += left_tile[from_place] * columns;
            sums[1] += left_tile[from_place + 1u] * columns;
            sums[2] += left_tile[from_place + 2u] * columns;
            sums[3] += left_tile[from_place + 3u] * columns;
        }
        workgroupBarrier();
    }
    if (first_vector + across < shape.right_vectors) {
        for (var i = 0u; i < 4u; i++) {
            let row = first_row + down * 4u + i;
            if (row < shape.rows) {
                result[row * shape.right_vectors + first_vector + across] = sums[i];
            }
        }
    }
}
