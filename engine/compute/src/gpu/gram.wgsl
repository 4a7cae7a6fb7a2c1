// Sums over rows of the products of their numbers, each row with a weight or without.
//
// A workgroup has 64 rows and 64 columns of the sums of a stretch, a thread four rows and a vector of columns; 16 rows at a
// time are in the workgroup's memory. Every 256 rows the sums are added to others, so that few roundings add up.

const TILE: u32 = 64u;
const DEPTH: u32 = 16u;
const ROUND: u32 = 256u;

struct Shape {
    rows: u32,
    // Columns of the matrix, and vectors of a row.
    columns: u32,
    vectors: u32,
    stretches: u32,
    stretch_rows: u32,
    // Workgroups side by side.
    tiles: u32,
    // Whether rows have weights: the second number of each vector of `weights`.
    weighted: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> matrix: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weights: array<vec4<f32>>;
// For each stretch, of each column the products with all columns.
@group(0) @binding(3) var<storage, read_write> result: array<vec4<f32>>;

var<workgroup> left_tile: array<vec4<f32>, 256>; // DEPTH * TILE / 4
var<workgroup> right_tile: array<vec4<f32>, 256>;

@compute @workgroup_size(256)
fn gram(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * groups.x + group.x;
    let stretch = index / (shape.tiles * shape.tiles);
    let tile = index % (shape.tiles * shape.tiles);
    let tile_down = tile / shape.tiles;
    let tile_across = tile % shape.tiles;
    // The same for all threads of the group. What is above the diagonal is below it, too.
    if (stretch >= shape.stretches || tile_across > tile_down) {
        return;
    }
    let across = lane % 16u;
    let down = lane / 16u;
    let end = min((stretch + 1u) * shape.stretch_rows, shape.rows);
    let left_vector = tile_down * (TILE / 4u) + across;
    let right_vector = tile_across * (TILE / 4u) + across;
    var sums: array<vec4<f32>, 4>;
    var totals: array<vec4<f32>, 4>;
    var until_round = ROUND;
    for (var first = stretch * shape.stretch_rows; first < end; first += DEPTH) {
        let row = first + down;
        var left = vec4<f32>();
        var right = vec4<f32>();
        if (row < end) {
            if (left_vector < shape.vectors) {
                left = matrix[row * shape.vectors + left_vector];
            }
            if (right_vector < shape.vectors) {
                right = matrix[row * shape.vectors + right_vector];
            }
            if (shape.weighted != 0u) {
                left *= weights[row].y;
            }
        }
        left_tile[lane] = left;
        right_tile[lane] = right;
        workgroupBarrier();
        for (var depth = 0u; depth < DEPTH; depth++) {
            let factors = left_tile[depth * 16u + down];
            let columns = right_tile[depth * 16u + across];
            sums[0] += factors.x * columns;
            sums[1] += factors.y * columns;
            sums[2] += factors.z * columns;
            sums[3] += factors.w * columns;
        }
        until_round -= DEPTH;
        if (until_round == 0u) {
            for (var i = 0u; i < 4u; i++) {
                totals[i] += sums[i];
                sums[i] = vec4<f32>();
            }
            until_round = ROUND;
        }
        workgroupBarrier();
    }
    if (right_vector < shape.vectors) {
        for (var i = 0u; i < 4u; i++) {
            let column = tile_down * TILE + down * 4u + i;
            if (column < shape.columns) {
                result[(stretch * shape.columns + column) * shape.vectors + right_vector] = totals[i] + sums[i];
            }
        }
    }
}
