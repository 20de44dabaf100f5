#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The kernel's own selftests of VFIO (tools/testing/selftests/vfio) on a composed device that is bound
# to vfio-pci. The stock kernel has VFIO's containers and no iommufd: of the tests that run once for
# each interface those of `vfio_type1_iommu` and `vfio_type1v2_iommu` can run. No other can:
# vfio_iommufd_setup_test is about iommufd, vfio_pci_sriov_uapi_test about a function with VFs, and
# vfio_pci_driver_test has drivers for DSA and IOAT only.
# TIMEOUT: 180
. "$SELFTEST_LIB/dpdk.sh"
plan 18
tests=/scratch/vfio-selftests
export VFIO_SELFTESTS_BDF=$address VFIO_SELFTESTS_IOMMU_MODE=vfio_type1v2_iommu
port 02:ad:17:00:01:01 >/dev/null
modprobe -a vfio-pci vfio_iommu_type1
check "vfio-pci is bound to the device" bind vfio-pci

# kernel PROGRAM TEST: the test of that program, FIXTURE.VARIANT.TEST, passes and is not skipped.
kernel() {
    local text status
    text=$(within 60 "$tests/$1" -r "$2" 2>&1)
    status=$?
    echo "$text"
    ((status == 0)) && grep -q "^ok 1 " <<<"$text" && ! grep -q SKIP <<<"$text"
}
for name in config_space_read_write validate_bars reset; do
    check "vfio_pci_device_test: $name" kernel vfio_pci_device_test vfio_pci_device_test.$name
done
check "vfio_pci_device_test: MSI-X vectors signal" kernel vfio_pci_device_test vfio_pci_irq_test.msix.enable_trigger_disable
for mode in vfio_type1_iommu vfio_type1v2_iommu; do
    check "vfio_dma_mapping_test: $mode, a page" kernel vfio_dma_mapping_test vfio_dma_mapping_test.${mode}_anonymous.dma_map_unmap
    for name in unmap_range unmap_all overflow; do
        check "vfio_dma_mapping_test: $mode, $name" kernel vfio_dma_mapping_test vfio_dma_map_limit_test.$mode.$name
    done
    check "vfio_dma_mapping_mmio_test: $mode" kernel vfio_dma_mapping_mmio_test vfio_dma_mapping_mmio_test.$mode.map_partial_bar
    check "vfio_pci_device_init_perf_test: $mode" kernel vfio_pci_device_init_perf_test vfio_pci_device_init_perf_test.$mode.init
done
bind idpf
check "idpf works with the device afterwards" eval 'nic-up 1 && ping -n -q -c 2 -w 30 10.99.1.1'
done_testing
