// The products of rows with a vector, whose numbers are padded with zeros like a row's.
//
// A workgroup has four rows, and 16 threads for each.

const ROWS: u32 = 4u;
const ACROSS: u32 = 16u;

struct Shape {
    rows: u32,
    // Of a row.
    vectors: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> matrix: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> factors: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> products: array<f32>;
// Of `derivatives` instead: for each row the first and the second derivative of its loss by its score, and the loss.
@group(0) @binding(3) var<storage, read_write> losses: array<vec4<f32>>;
// 1 for a positive row, else 0.
@group(0) @binding(4) var<storage, read> labels: array<u32>;

var<workgroup> partial: array<f32, 64>; // ROWS * ACROSS

// The product of the row of these threads, for the first of them. All threads come here together.
fn product(row: u32, lane: u32) -> f32 {
    var sum = 0.0;
    if (row < shape.rows) {
        for (var vector = lane % ACROSS; vector < shape.vectors; vector += ACROSS) {
            sum += dot(matrix[row * shape.vectors + vector], factors[vector]);
        }
    }
    partial[lane] = sum;
    workgroupBarrier();
    if (lane % ACROSS == 0u) {
        for (var place = 1u; place < ACROSS; place++) {
            sum += partial[lane + place];
        }
    }
    return sum;
}

@compute @workgroup_size(64)
fn times_vector(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = (group.y * groups.x + group.x) * ROWS + lane / ACROSS;
    let sum = product(row, lane);
    if (lane % ACROSS == 0u && row < shape.rows) {
        products[row] = sum;
    }
}

@compute @workgroup_size(64)
fn derivatives(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = (group.y * groups.x + group.x) * ROWS + lane / ACROSS;
    let score = product(row, lane);
    if (lane % ACROSS != 0u || row >= shape.rows) {
        return;
    }
    let label = f32(labels[row]);
    // The exponential of a negative number cannot overflow.
    let small = exp(-abs(score));
    let probability = select(small, 1.0, score >= 0.0) / (1.0 + small);
    // Not one less the probability, whose digits would cancel.
    let other = select(1.0, small, score >= 0.0) / (1.0 + small);
    let wrong = max(select(score, -score, label > 0.5), 0.0);
    let first = select(probability, -other, label > 0.5);
    losses[row] = vec4<f32>(first, probability * other, wrong + log(1.0 + small), 0.0);
}
