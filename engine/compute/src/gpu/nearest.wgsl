// Squared distances between each asked row and each stored row, and the least of them.
//
// A workgroup has 64 asked rows, one a thread, and goes through a stretch of the stored rows, 16 at a time, of which it
// holds 8 vectors of columns in its memory. Rows are padded with zeros to whole vectors, which adds nothing to a
// distance. `nearest` keeps a sorted list a thread in the result's own buffer: few rows come into it, so its length
// does not matter much.

const ASKED: u32 = 64u;
const STORED: u32 = 16u;
const VECTORS: u32 = 8u;
const NONE: u32 = 0xffffffffu;
// Of f32. WGSL need not know infinities, and no distance is as long: numbers are at most 2^48.
const LARGEST: f32 = 3.4e38;

struct Shape {
    stored_rows: u32,
    asked_rows: u32,
    // Of a row.
    vectors: u32,
    // Neighbours that are looked for.
    count: u32,
    // Parts into which the stored rows are cut, and rows of a part.
    parts: u32,
    part_rows: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> stored: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> asked: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> distances: array<f32>;
@group(0) @binding(4) var<storage, read_write> rows: array<u32>;

var<workgroup> tile: array<vec4<f32>, 128>; // STORED * VECTORS

// The distances of the asked row `row` from the stored rows `first` and those behind it. All threads come here
// together.
fn compare(first: u32, end: u32, row: u32, lane: u32, sums: ptr<function, array<f32, 16>>) {
    for (var i = 0u; i < STORED; i++) {
        (*sums)[i] = 0.0;
    }
    for (var place = 0u; place < shape.vectors; place += VECTORS) {
        workgroupBarrier();
        for (var i = lane; i < STORED * VECTORS; i += ASKED) {
            let from_row = first + i / VECTORS;
            let vector = place + i % VECTORS;
            var value = vec4<f32>();
            if (from_row < end && vector < shape.vectors) {
                value = stored[from_row * shape.vectors + vector];
            }
            tile[i] = value;
        }
        workgroupBarrier();
        if (row < shape.asked_rows) {
            for (var vector = 0u; vector < min(VECTORS, shape.vectors - place); vector++) {
                let a = asked[row * shape.vectors + place + vector];
                for (var i = 0u; i < STORED; i++) {
                    let difference = a - tile[i * VECTORS + vector];
                    (*sums)[i] += dot(difference, difference);
                }
            }
        }
    }
}

@compute @workgroup_size(64)
fn nearest(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * groups.x + group.x;
    let part = index % shape.parts;
    let row = index / shape.parts * ASKED + lane;
    let first = part * shape.part_rows;
    let end = min(first + shape.part_rows, shape.stored_rows);
    let list = (row * shape.parts + part) * shape.count;
    var found = 0u;
    var farthest = LARGEST;
    var sums: array<f32, 16>;
    for (var base = first; base < end; base += STORED) {
        compare(base, end, row, lane, &sums);
        for (var i = 0u; i < STORED; i++) {
            let distance = sums[i];
            if (row >= shape.asked_rows || base + i >= end || distance >= farthest) {
                continue;
            }
            // Rows come in their order: one at the same distance as another stays behind it.
            var place = min(found, shape.count - 1u);
            found = min(found + 1u, shape.count);
            while (place > 0u && distances[list + place - 1u] > distance) {
                distances[list + place] = distances[list + place - 1u];
                rows[list + place] = rows[list + place - 1u];
                place--;
            }
            distances[list + place] = distance;
            rows[list + place] = base + i;
            if (found == shape.count) {
                farthest = distances[list + found - 1u];
            }
        }
    }
    if (row < shape.asked_rows) {
        for (var place = found; place < shape.count; place++) {
            rows[list + place] = NONE;
        }
    }
}

@compute @workgroup_size(64)
fn assign(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = (group.y * groups.x + group.x) * ASKED + lane;
    var best = NONE;
    var least = LARGEST;
    var sums: array<f32, 16>;
    for (var base = 0u; base < shape.stored_rows; base += STORED) {
        compare(base, shape.stored_rows, row, lane, &sums);
        for (var i = 0u; i < STORED; i++) {
            if (base + i < shape.stored_rows && sums[i] < least) {
                least = sums[i];
                best = base + i;
            }
        }
    }
    if (row < shape.asked_rows) {
        distances[row] = least;
        rows[row] = best;
    }
}
