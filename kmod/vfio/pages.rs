// SPDX-License-Identifier: GPL-2.0

//! Pages given away: files that map some pages of registers and do nothing else.
//!
//! Such a file may be with anybody, for as long as they like. What it may map is therefore tied to
//! a [`Grant`], the time for which an owner has an ADI: until the device is closed or reset, or the
//! ADI ends. From then on its pages lead nowhere, in mappings that are there as well, so that the
//! next owner of the ADI has its doorbells alone. Files know page frames and grants, not ADIs: they
//! keep the module loaded, and nothing else alive.
//!
//! One holder of a page outlives its grant, as with the BARs of any VFIO device:
//! `VFIO_IOMMU_MAP_DMA` of a type1 container follows `VM_PFNMAP` mappings to their page frames,
//! maps those for the DMA of whatever devices are in the container, and is told nothing when the
//! mappings go. (iommufd pins pages, and registers have none.) Whoever has such a page there and a
//! device of their own to write to it can still ring the doorbell of the ADI's next owner. That is
//! no way to anybody's memory: a doorbell tells how far a ring is filled, and the ring is read, and
//! what it names, in the address space of the ADI that it belongs to. At worst the next owner's
//! queue stops with a fault, which its owner is told.
//!
//! C header: [`include/linux/anon_inodes.h`](srctree/include/linux/anon_inodes.h)

use adit_bindings as bindings;
use adit_uapi::vfio::{
    PageEntry,
    PagesFd,
    MAX_PAGES,
    MAX_PAGES_FDS,
    SOURCE_SELF, //
};
use core::ptr::NonNull;
use kernel::{
    error::{
        from_err_ptr,
        from_result, //
    },
    fs::{
        file::FileDescriptorReservation,
        File,
        LocalFile, //
    },
    mm::virt::VmaNew,
    new_mutex,
    page::{
        Page,
        PAGE_SHIFT, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        Mutex, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};
use zerocopy::FromBytes;

use super::{
    device::State,
    regions, //
};

/// The time for which an owner has an ADI, and what it has given away meanwhile.
#[pin_data]
pub(super) struct Grant {
    #[pin]
    inner: Mutex<GrantState>,
}

struct GrantState {
    /// Held while a page is mapped, so that none is after it was set.
    revoked: bool,
    /// Files with pages under this grant: each takes itself out when it is released.
    files: KVec<Mapping>,
}

/// Where the mappings of a file are found.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mapping(NonNull<bindings::address_space>);

// SAFETY: The memory manager locks it by itself; that it is there is what `GrantState` is for.
unsafe impl Send for Mapping {}
// SAFETY: As above.
unsafe impl Sync for Mapping {}

impl Grant {
    /// One that holds.
    pub(super) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                inner <- new_mutex!(GrantState {
                    revoked: false,
                    files: KVec::new(),
                }),
            }),
            GFP_KERNEL,
        )
    }

    /// Ends it: no page is mapped under it when this returns, nor ever again.
    pub(super) fn revoke(&self) {
        let mut inner = self.inner.lock();
        inner.revoked = true;
        for mapping in &inner.files {
            // SAFETY: The file has not been released, or it would have taken itself out, under
            // this lock. Pages of other grants come back when they are touched.
            unsafe { bindings::unmap_mapping_range(mapping.0.as_ptr(), 0, 0, 1) };
        }
    }

    fn is_revoked(&self) -> bool {
        self.inner.lock().revoked
    }

    /// A file has pages under this grant. `EIO` when it has ended, `ENOSPC` when there are too many
    /// already.
    fn enlist(&self, mapping: Mapping) -> Result {
        let mut inner = self.inner.lock();
        if inner.revoked {
            return Err(EIO);
        }
        if inner.files.contains(&mapping) {
            return Ok(());
        }
        if inner.files.len() >= MAX_PAGES_FDS as usize {
            return Err(ENOSPC);
        }
        inner.files.push(mapping, GFP_KERNEL_ACCOUNT)?;
        Ok(())
    }

    fn leave(&self, mapping: Mapping) {
        self.inner.lock().files.retain(|other| *other != mapping);
    }
}

/// A page of registers, for as long as its grant holds.
#[derive(Clone)]
struct GrantedPage {
    grant: Arc<Grant>,
    frame: u64,
}

/// What a file can map.
struct Pages {
    pages: KVec<GrantedPage>,
    /// What is mapped instead of pages whose grant has ended: who is just about to ring gets no
    /// SIGBUS.
    nowhere: Page,
}

impl Pages {
    /// Grants, each once for every run of pages under it.
    fn grants(&self) -> impl Iterator<Item = &Arc<Grant>> {
        let mut last: Option<&Arc<Grant>> = None;
        self.pages.iter().filter_map(move |page| {
            let grant = &page.grant;
            let new = !last.is_some_and(|last| Arc::ptr_eq(last, grant));
            last = Some(grant);
            new.then_some(grant)
        })
    }
}

/// PAGES_FD: makes a file and returns its descriptor in the calling process.
pub(super) fn create(state: &State, arg: UserPtr) -> Result<u32> {
    let grant = state.grant().ok_or(EIO)?;
    let pages = read_list(state, &grant, arg)?;
    let nowhere = Page::alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO)?;
    let pages = KBox::new(Pages { pages, nowhere }, GFP_KERNEL_ACCOUNT)?;
    let reservation = FileDescriptorReservation::get_unused_fd_flags(bindings::O_CLOEXEC)?;
    let file = open(pages)?;
    let fd = reservation.reserved_fd();
    reservation.fd_install(file);
    Ok(fd)
}

/// A file for a list of pages, which is in the lists of their grants.
fn open(pages: KBox<Pages>) -> Result<ARef<File>> {
    let pages = KBox::into_raw(pages);
    // An inode of its own: the mappings of its pages are to be found without those of others.
    // SAFETY: The operations are static, and their owner keeps them there; the private data is
    // `release()`'s from here on.
    let file = from_err_ptr(unsafe {
        bindings::anon_inode_create_getfile(
            c"[adit-pages]".as_char_ptr(),
            &FILE_OPS.0,
            pages.cast(),
            // CAST: small flags.
            (bindings::O_RDWR | bindings::O_CLOEXEC) as c_int,
            core::ptr::null(),
        )
    });
    let file = match file {
        Ok(file) => NonNull::new(file).ok_or(ENOMEM)?,
        Err(error) => {
            // SAFETY: It came out of a box above, and no file has it.
            drop(unsafe { KBox::from_raw(pages) });
            return Err(error);
        }
    };
    // SAFETY: The file was opened just now, and the reference to it is ours. `File` is transparent
    // around the C structure. Nobody can be seeking in a file without a descriptor.
    let file: ARef<File> = unsafe { ARef::from_raw(file.cast()) };
    // SAFETY: The file is there, and what it can map stays with it. Should a grant refuse, it is
    // closed by the drop of `file`, which takes it out of the lists of the others.
    let (mapping, pages) = unsafe { (mapping(file.as_ptr()), &*pages) };
    for grant in pages.grants() {
        grant.enlist(mapping)?;
    }
    Ok(file)
}

/// Where the mappings of a file of ours are found.
///
/// # Safety
///
/// The file has not been released.
unsafe fn mapping(file: *mut bindings::file) -> Mapping {
    // SAFETY: By the function's requirement. The mapping is never null.
    Mapping(unsafe { NonNull::new_unchecked((*file).f_mapping) })
}

/// The list that the caller has given.
fn read_list(state: &State, grant: &Arc<Grant>, arg: UserPtr) -> Result<KVec<GrantedPage>> {
    let mut bytes = [0; PagesFd::LEN];
    UserSlice::new(arg, bytes.len())
        .reader()
        .read_slice(&mut bytes)?;
    let head = PagesFd::read_from_bytes(&bytes).map_err(|_| EINVAL)?;
    let count = head.count.get();
    if head.flags.get() != 0 || head.reserved.get() != 0 || count == 0 {
        return Err(EINVAL);
    }
    if count > MAX_PAGES {
        return Err(E2BIG);
    }
    let len = count as usize * PageEntry::LEN;
    if (head.argsz.get() as usize) < PagesFd::LEN + len {
        return Err(EINVAL);
    }
    let mut pages: KVec<GrantedPage> = KVec::with_capacity(count as usize, GFP_KERNEL_ACCOUNT)?;
    let mut reader = UserSlice::new(arg.wrapping_byte_add(PagesFd::LEN), len).reader();
    for _ in 0..count {
        let mut bytes = [0; PageEntry::LEN];
        reader.read_slice(&mut bytes)?;
        let entry = PageEntry::read_from_bytes(&bytes).map_err(|_| EINVAL)?;
        let page = find(state, grant, &entry)?;
        if page.grant.is_revoked() {
            return Err(EIO);
        }
        if pages.iter().any(|other| other.frame == page.frame) {
            return Err(EEXIST);
        }
        pages.push(page, GFP_KERNEL_ACCOUNT)?;
    }
    Ok(pages)
}

/// The page that an entry names.
fn find(state: &State, grant: &Arc<Grant>, entry: &PageEntry) -> Result<GrantedPage> {
    let (region, page) = (entry.region.get(), entry.page.get());
    if entry.reserved.get() != 0 {
        return Err(EINVAL);
    }
    if entry.source_fd.get() == SOURCE_SELF {
        let (_, count) = regions::registers(state, region)?;
        if page >= count {
            return Err(ENXIO);
        }
        let frame = regions::register_page(state, region, page.into()).ok_or(ENXIO)?;
        let grant = grant.clone();
        return Ok(GrantedPage { grant, frame });
    }
    let fd = u32::try_from(entry.source_fd.get()).map_err(|_| EBADF)?;
    let file = LocalFile::fget(fd)?;
    // SAFETY: The file is open; its operations do not change.
    if !core::ptr::eq(unsafe { (*file.as_ptr()).f_op }, &FILE_OPS.0) || region != 0 {
        return Err(EINVAL);
    }
    // SAFETY: A file with these operations has had this as its private data from its making on,
    // until `release()`, which the reference to it keeps away.
    let pages = unsafe { &*(*file.as_ptr()).private_data.cast::<Pages>() };
    pages.pages.get(page as usize).cloned().ok_or(ENXIO)
}

/// Operations of a file, which the kernel only reads.
struct FileOps(bindings::file_operations);

// SAFETY: Nobody writes them.
unsafe impl Sync for FileOps {}

static FILE_OPS: FileOps = FileOps(bindings::file_operations {
    owner: crate::THIS_MODULE.as_ptr(),
    mmap: Some(mmap),
    release: Some(release),
    ..pin_init::zeroed()
});

/// Operations of a mapping, which the memory manager only reads.
struct VmOps(bindings::vm_operations_struct);

// SAFETY: Nobody writes them.
unsafe impl Sync for VmOps {}

static VM_OPS: VmOps = VmOps(bindings::vm_operations_struct {
    fault: Some(fault),
    ..pin_init::zeroed()
});

/// The last descriptor and the last mapping are gone.
unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    // SAFETY: Called once for a file of `open()`, whose private data came out of a box.
    let pages = unsafe { KBox::from_raw((*file).private_data.cast::<Pages>()) };
    // SAFETY: The file is being released, and its inode goes after this.
    let mapping = unsafe { mapping(file) };
    for grant in pages.grants() {
        grant.leave(mapping);
    }
    0
}

unsafe extern "C" fn mmap(file: *mut bindings::file, vma: *mut bindings::vm_area_struct) -> c_int {
    from_result(|| {
        // SAFETY: `vma` is being set up by `mmap()` for a file of `open()`.
        let (new, first, pages) = unsafe {
            let pages = &*(*file).private_data.cast::<Pages>();
            (VmaNew::from_raw(vma), (*vma).vm_pgoff, pages)
        };
        regions::check_mapping(new)?;
        let count = (new.end() - new.start()) >> PAGE_SHIFT;
        let first = usize::try_from(first).map_err(|_| EINVAL)?;
        let end = first.checked_add(count).ok_or(EINVAL)?;
        let wanted = pages.pages.get(first..end).ok_or(EINVAL)?;
        if wanted.iter().any(|page| page.grant.is_revoked()) {
            return Err(EIO);
        }
        // SAFETY: As above. The mapping keeps its file, with the pages, open.
        unsafe {
            bindings::adit_vma_set_registers(vma);
            (*vma).vm_ops = &VM_OPS.0;
        }
        Ok(0)
    })
}

/// A page is touched that is not mapped yet, or not any more.
unsafe extern "C" fn fault(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
    // SAFETY: The memory manager gives a fault in a mapping that `mmap()` set up, whose file is
    // open for as long as the mapping is there.
    let (vma, address, index, pages) = unsafe {
        let place = &(*vmf).__bindgen_anon_1;
        let file = (*place.vma).vm_file;
        let pages = &*(*file).private_data.cast::<Pages>();
        (place.vma, place.address, place.pgoff, pages)
    };
    let Some(page) = pages.pages.get(index as usize) else {
        return bindings::vm_fault_reason_VM_FAULT_SIGBUS;
    };
    // Until the page is mapped, so that it is not while the grant is revoked.
    let grant = page.grant.inner.lock();
    let frame = match grant.revoked {
        false => page.frame,
        true => regions::page_frame(&pages.nowhere),
    };
    // SAFETY: `vma` has VM_PFNMAP, and the page is one of registers whose grant holds, or one that
    // is there as long as the file.
    unsafe { bindings::vmf_insert_pfn(vma, address, frame as c_ulong) }
}
