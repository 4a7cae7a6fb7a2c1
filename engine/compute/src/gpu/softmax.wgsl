// Rows of scores as probabilities, in their place, and the logarithm of the sum of each row's exponentials.
//
// A wide row has a workgroup, whose threads meet in a tree; a narrow one a thread. Those without probabilities leave the
// scores as they are.

const LANES: u32 = 64u;
const LOWEST: f32 = -3.4e38;

struct Shape {
    rows: u32,
    columns: u32,
    // Numbers between the starts of two rows.
    stride: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read_write> scores: array<f32>;
@group(0) @binding(2) var<storage, read_write> logarithms: array<f32>;

var<workgroup> partial: array<f32, 64>;

@compute @workgroup_size(64)
fn wide(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * groups.x + group.x;
    // The same for all threads of the group, so all of them leave.
    if (row >= shape.rows) {
        return;
    }
    let start = row * shape.stride;
    var largest = LOWEST;
    for (var column = lane; column < shape.columns; column += LANES) {
        largest = max(largest, scores[start + column]);
    }
    partial[lane] = largest;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            partial[lane] = max(partial[lane], partial[lane + half]);
        }
        workgroupBarrier();
    }
    largest = partial[0];
    workgroupBarrier();
    var sum = 0.0;
    for (var column = lane; column < shape.columns; column += LANES) {
        let exponential = exp(scores[start + column] - largest);
        scores[start + column] = exponential;
        sum += exponential;
    }
    partial[lane] = sum;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            partial[lane] += partial[lane + half];
        }
        workgroupBarrier();
    }
    sum = partial[0];
    for (var column = lane; column < shape.columns; column += LANES) {
        scores[start + column] /= sum;
    }
    if (lane == 0u) {
        logarithms[row] = largest + log(sum);
    }
}

@compute @workgroup_size(64)
fn narrow(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = (group.y * groups.x + group.x) * LANES + lane;
    if (row >= shape.rows) {
        return;
    }
    let start = row * shape.stride;
    var largest = LOWEST;
    for (var column = 0u; column < shape.columns; column++) {
        largest = max(largest, scores[start + column]);
    }
    var sum = 0.0;
    for (var column = 0u; column < shape.columns; column++) {
        let exponential = exp(scores[start + column] - largest);
        scores[start + column] = exponential;
        sum += exponential;
    }
    for (var column = 0u; column < shape.columns; column++) {
        scores[start + column] /= sum;
    }
    logarithms[row] = largest + log(sum);
}

@compute @workgroup_size(64)
fn logarithms_wide(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * groups.x + group.x;
    // As in `wide`.
    if (row >= shape.rows) {
        return;
    }
    let start = row * shape.stride;
    var largest = LOWEST;
    for (var column = lane; column < shape.columns; column += LANES) {
        largest = max(largest, scores[start + column]);
    }
    partial[lane] = largest;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            partial[lane] = max(partial[lane], partial[lane + half]);
        }
        workgroupBarrier();
    }
    largest = partial[0];
    workgroupBarrier();
    var sum = 0.0;
    for (var column = lane; column < shape.columns; column += LANES) {
        sum += exp(scores[start + column] - largest);
    }
    partial[lane] = sum;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            partial[lane] += partial[lane + half];
        }
        workgroupBarrier();
    }
    if (lane == 0u) {
        logarithms[row] = largest + log(partial[0]);
    }
}

@compute @workgroup_size(64)
fn logarithms_narrow(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = (group.y * groups.x + group.x) * LANES + lane;
    if (row >= shape.rows) {
        return;
    }
    let start = row * shape.stride;
    var largest = LOWEST;
    for (var column = 0u; column < shape.columns; column++) {
        largest = max(largest, scores[start + column]);
    }
    var sum = 0.0;
    for (var column = 0u; column < shape.columns; column++) {
        sum += exp(scores[start + column] - largest);
    }
    logarithms[row] = largest + log(sum);
}
