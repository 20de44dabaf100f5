// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Opcodes of messages.

named! {
    /// Opcodes (virtchnl2_op), each with the struct of its payload. 527, 528, 530, 531 and 550 are
    /// reserved. 532 and 533 are reserved in Linux's header and defined in DPDK's.
    pub mod op: u32 {
        /// Not an opcode.
        UNKNOWN = 0;
        /// [`super::super::VersionInfo`]; always the first message.
        VERSION = 1;
        /// [`super::super::GetCapabilities`]
        GET_CAPS = 500;
        /// [`super::super::CreateVport`]
        CREATE_VPORT = 501;
        /// [`super::super::Vport`]
        DESTROY_VPORT = 502;
        /// [`super::super::Vport`]
        ENABLE_VPORT = 503;
        /// [`super::super::Vport`]
        DISABLE_VPORT = 504;
        /// [`super::super::ConfigTxQueues`]
        CONFIG_TX_QUEUES = 505;
        /// [`super::super::ConfigRxQueues`]
        CONFIG_RX_QUEUES = 506;
        /// [`super::super::DelEnaDisQueues`]
        ENABLE_QUEUES = 507;
        /// [`super::super::DelEnaDisQueues`]
        DISABLE_QUEUES = 508;
        /// [`super::super::AddQueues`]
        ADD_QUEUES = 509;
        /// [`super::super::DelEnaDisQueues`]
        DEL_QUEUES = 510;
        /// [`super::super::QueueVectorMaps`]
        MAP_QUEUE_VECTOR = 511;
        /// [`super::super::QueueVectorMaps`]
        UNMAP_QUEUE_VECTOR = 512;
        /// [`super::super::RssKey`]
        GET_RSS_KEY = 513;
        /// [`super::super::RssKey`]
        SET_RSS_KEY = 514;
        /// [`super::super::RssLut`]
        GET_RSS_LUT = 515;
        /// [`super::super::RssLut`]
        SET_RSS_LUT = 516;
        /// [`super::super::RssHash`]
        GET_RSS_HASH = 517;
        /// [`super::super::RssHash`]
        SET_RSS_HASH = 518;
        /// [`super::super::SriovVfsInfo`]
        SET_SRIOV_VFS = 519;
        /// [`super::super::AllocVectors`]
        ALLOC_VECTORS = 520;
        /// [`super::super::VectorChunks`]
        DEALLOC_VECTORS = 521;
        /// [`super::super::Event`], from the device, without a request.
        EVENT = 522;
        /// [`super::super::VportStats`]
        GET_STATS = 523;
        /// A VF requests to be reset; without a struct.
        RESET_VF = 524;
        /// [`super::super::EdtCaps`]
        GET_EDT_CAPS = 525;
        /// [`super::super::GetPtypeInfo`]
        GET_PTYPE_INFO = 526;
        /// Carries the messages of an RDMA driver.
        RDMA = 529;
        /// [`super::super::adi::NonFlexCreateAdi`]
        NON_FLEX_CREATE_ADI = 532;
        /// [`super::super::adi::NonFlexDestroyAdi`]
        NON_FLEX_DESTROY_ADI = 533;
        /// [`super::super::Loopback`]
        LOOPBACK = 534;
        /// [`super::super::MacAddrList`]
        ADD_MAC_ADDR = 535;
        /// [`super::super::MacAddrList`]
        DEL_MAC_ADDR = 536;
        /// [`super::super::PromiscInfo`]
        CONFIG_PROMISCUOUS_MODE = 537;
        /// [`super::super::ptp::PtpGetCaps`]
        PTP_GET_CAPS = 541;
        /// [`super::super::ptp::PtpGetVportTxTstampLatches`]
        PTP_GET_VPORT_TX_TSTAMP = 542;
        /// [`super::super::ptp::PtpGetDevClkTime`]
        PTP_GET_DEV_CLK_TIME = 543;
        /// [`super::super::ptp::PtpGetCrossTime`]
        PTP_GET_CROSS_TIME = 544;
        /// [`super::super::ptp::PtpSetDevClkTime`]
        PTP_SET_DEV_CLK_TIME = 545;
        /// [`super::super::ptp::PtpAdjDevClkFine`]
        PTP_ADJ_DEV_CLK_FINE = 546;
        /// [`super::super::ptp::PtpAdjDevClkTime`]
        PTP_ADJ_DEV_CLK_TIME = 547;
        /// [`super::super::ptp::PtpGetVportTxTstampCaps`]
        PTP_GET_VPORT_TX_TSTAMP_CAPS = 548;
        /// [`super::super::GetLanMemoryRegions`]
        GET_LAN_MEMORY_REGIONS = 549;
        /// [`super::super::FlowRuleAddDel`]
        ADD_FLOW_RULE = 551;
        /// [`super::super::FlowRuleAddDel`]
        GET_FLOW_RULE = 552;
        /// [`super::super::FlowRuleAddDel`]
        DEL_FLOW_RULE = 553;
    }
}

#[cfg(test)]
mod tests {
    use super::op;

    #[test]
    fn names_are_the_standards() {
        assert_eq!(op::name(501), Some("CREATE_VPORT"));
        assert_eq!(op::name(op::DEL_FLOW_RULE), Some("DEL_FLOW_RULE"));
        assert_eq!(op::name(533), Some("NON_FLEX_DESTROY_ADI"));
        assert_eq!(op::name(550), None);
    }
}
