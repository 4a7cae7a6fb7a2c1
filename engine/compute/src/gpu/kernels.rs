//! The kernels of a device, compiled when it is opened: one that cannot compile them is no device.

use wgpu::{ComputePipeline, ComputePipelineDescriptor, Device};

use super::pool::{Lease, Use};
use super::{Gpu, Ordering};
use crate::error::{ComputeError, Result};

/// Numbers that tell a kernel its shape, at most.
pub(super) const SHAPE: usize = 8;
/// Workgroups in one direction, on every device.
const GROUPS_MAX: u64 = 65_535;

#[derive(Debug)]
pub(super) struct Kernels {
    pub(super) nearest: ComputePipeline,
    pub(super) assign: ComputePipeline,
    pub(super) product: ComputePipeline,
    pub(super) softmax_wide: ComputePipeline,
    pub(super) softmax_narrow: ComputePipeline,
    pub(super) logarithms_wide: ComputePipeline,
    pub(super) logarithms_narrow: ComputePipeline,
    pub(super) columns: ComputePipeline,
    pub(super) ordered: ComputePipeline,
    pub(super) times_vector: ComputePipeline,
    pub(super) derivatives: ComputePipeline,
    pub(super) gradient: ComputePipeline,
    pub(super) gram: ComputePipeline,
    pub(super) gather: ComputePipeline,
    pub(super) histogram: ComputePipeline,
}

impl Kernels {
    pub(super) fn compile(device: &Device) -> Self {
        let nearest = module(device, include_str!("nearest.wgsl"));
        let product = module(device, include_str!("product.wgsl"));
        let softmax = module(device, include_str!("softmax.wgsl"));
        let columns = module(device, include_str!("columns.wgsl"));
        let matvec = module(device, include_str!("matvec.wgsl"));
        Self {
            nearest: pipeline(device, &nearest, "nearest"),
            assign: pipeline(device, &nearest, "assign"),
            product: pipeline(device, &product, "product"),
            softmax_wide: pipeline(device, &softmax, "wide"),
            softmax_narrow: pipeline(device, &softmax, "narrow"),
            logarithms_wide: pipeline(device, &softmax, "logarithms_wide"),
            logarithms_narrow: pipeline(device, &softmax, "logarithms_narrow"),
            columns: pipeline(device, &columns, "columns"),
            ordered: pipeline(device, &columns, "ordered"),
            times_vector: pipeline(device, &matvec, "times_vector"),
            derivatives: pipeline(device, &matvec, "derivatives"),
            gradient: pipeline(device, &module(device, include_str!("logistic.wgsl")), "gradient"),
            gram: pipeline(device, &module(device, include_str!("gram.wgsl")), "gram"),
            gather: pipeline(device, &module(device, include_str!("gather.wgsl")), "gather"),
            histogram: pipeline(device, &module(device, include_str!("histogram.wgsl")), "histogram"),
        }
    }
}

fn module(device: &Device, text: &'static str) -> wgpu::ShaderModule {
    let source = wgpu::ShaderSource::Wgsl(text.into());
    device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source })
}

fn pipeline(device: &Device, module: &wgpu::ShaderModule, entry_point: &str) -> ComputePipeline {
    device.create_compute_pipeline(&ComputePipelineDescriptor {
        label: Some(entry_point),
        layout: None,
        module,
        entry_point: Some(entry_point),
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    })
}

/// Kernels that are to run, one after another.
pub(super) struct Commands {
    encoder: wgpu::CommandEncoder,
    /// Held until all is submitted: another thread may write to a buffer that has been given back, and writes come
    /// before what is submitted with them.
    shapes: Vec<Lease>,
}

impl Gpu {
    pub(super) fn commands(&self) -> Commands {
        let encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        Commands { encoder, shapes: Vec::new() }
    }

    /// Adds a kernel to what is to run: its shape is at binding 0, the buffers behind it in their order. `groups`
    /// workgroups run in rows of [`GROUPS_MAX`]; kernels number them through, and pass over those beyond the last.
    ///
    /// # Errors
    /// `NoRoom` if there are more workgroups than a device starts at once.
    pub(super) fn dispatch(
        &self,
        commands: &mut Commands,
        kernel: &ComputePipeline,
        shape: [u32; SHAPE],
        buffers: &[&Lease],
        groups: u64,
    ) -> Result<()> {
        let across = groups.clamp(1, GROUPS_MAX);
        let down = groups.div_ceil(across);
        if down > GROUPS_MAX {
            let limit = GROUPS_MAX * GROUPS_MAX;
            return Err(ComputeError::NoRoom { needed: groups, limit, what: "workgroups of a kernel" });
        }
        let shape_bytes = shape.map(u32::to_ne_bytes);
        let shape = self.pool.lend(&self.device, Use::Shape, size_of_val(&shape_bytes) as u64)?;
        self.queue.write_buffer(shape.buffer(), 0, shape_bytes.as_flattened());
        let all = [&shape].into_iter().chain(buffers.iter().copied());
        let entries: Vec<_> = all.enumerate().map(|(binding, lease)| entry(binding as u32, lease)).collect();
        let layout = kernel.get_bind_group_layout(0);
        let descriptor = wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries };
        let bind_group = self.device.create_bind_group(&descriptor);
        let mut pass = commands.encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(kernel);
        pass.set_bind_group(0, &bind_group, &[]);
        pass.dispatch_workgroups(across as u32, down as u32, 1);
        drop(pass);
        commands.shapes.push(shape);
        self.counters.dispatches.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn submit(&self, commands: Commands) -> wgpu::SubmissionIndex {
        let submission = self.queue.submit([commands.encoder.finish()]);
        drop(commands.shapes);
        submission
    }
}

impl Commands {
    /// Fills a buffer with zeros.
    pub(super) fn clear(&mut self, lease: &Lease) {
        self.encoder.clear_buffer(lease.buffer(), 0, Some(lease.bytes()));
    }

    /// Copies a buffer into another from `offset` on.
    pub(super) fn copy(&mut self, from: &Lease, to: &Lease, offset: u64) {
        self.encoder.copy_buffer_to_buffer(from.buffer(), 0, to.buffer(), offset, from.bytes());
    }
}

fn entry(binding: u32, lease: &Lease) -> wgpu::BindGroupEntry<'_> {
    let size = std::num::NonZeroU64::new(lease.bytes());
    let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer: lease.buffer(), offset: 0, size });
    wgpu::BindGroupEntry { binding, resource }
}
