// Sums of whole gradients by bins, in 64 bits, each as two numbers of 32.
//
// WGSL has atomic additions of 32 bits only. One to the low half returns what was there, so whoever adds knows whether that
// has run over, and adds the carry to the high half. Additions commute modulo 2^64: once all are done, the halves are those
// of the exact sum, whatever their order.
//
// A workgroup has two features and a stretch of the rows; what it has summed up it adds to the result.

const LANES: u32 = 256u;
const BINS: u32 = 256u;
// For each of two features' bins the low and the high half of two sums.
const PLACES: u32 = 2048u;

struct Shape {
    // Rows that there are, and that are summed up.
    rows: u32,
    asked: u32,
    features: u32,
    // Words of four bins that a row has, and pairs of features.
    words: u32,
    pairs: u32,
    stretches: u32,
    stretch_rows: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> bins: array<u32>;
@group(0) @binding(2) var<storage, read> gradients: array<vec2<i32>>;
@group(0) @binding(3) var<storage, read> asked: array<u32>;
@group(0) @binding(4) var<storage, read_write> result: array<atomic<u32>>;

var<workgroup> sums: array<atomic<u32>, 2048>; // PLACES

fn add(place: u32, value: i32) {
    let low = bitcast<u32>(value);
    let before = atomicAdd(&sums[place], low);
    // What a negative number has above its 32 bits, and the carry.
    let high = select(0u, 0xffffffffu, value < 0) + select(0u, 1u, before + low < before);
    if (high != 0u) {
        atomicAdd(&sums[place + 1u], high);
    }
}

@compute @workgroup_size(256)
fn histogram(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * groups.x + group.x;
    let stretch = index / shape.pairs;
    let pair = index % shape.pairs;
    // The same for all threads of the group, so all of them leave.
    if (stretch >= shape.stretches) {
        return;
    }
    for (var place = lane; place < PLACES; place += LANES) {
        atomicStore(&sums[place], 0u);
    }
    workgroupBarrier();
    let end = min((stretch + 1u) * shape.stretch_rows, shape.asked);
    let is_second = pair * 2u + 1u < shape.features;
    for (var place = stretch * shape.stretch_rows + lane; place < end; place += LANES) {
        let row = asked[place];
        if (row < shape.rows) {
            let two = bins[row * shape.words + pair / 2u] >> (pair % 2u * 16u);
            let gradient = gradients[row];
            let first = (two & 255u) * 4u;
            add(first, gradient.x);
            add(first + 2u, gradient.y);
            if (is_second) {
                let second = (BINS + ((two >> 8u) & 255u)) * 4u;
                add(second, gradient.x);
                add(second + 2u, gradient.y);
            }
        }
    }
    workgroupBarrier();
    for (var place = lane * 2u; place < PLACES; place += LANES * 2u) {
        let low = atomicLoad(&sums[place]);
        let into = pair * PLACES + place;
        var high = atomicLoad(&sums[place + 1u]);
        if (low != 0u) {
            let before = atomicAdd(&result[into], low);
            high += select(0u, 1u, before + low < before);
        }
        if (high != 0u) {
            atomicAdd(&result[into + 1u], high);
        }
    }
}
