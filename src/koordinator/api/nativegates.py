"""Feature gates of kube-scheduler itself that its users set: scheduling, devices, volumes, and those of every component.

Ours behaves as theirs does with what is on by default; the names are accepted so that a chart's arguments keep working.
"""

_SCHEDULING = """
    ClearingNominatedNodeNameAfterBinding GangScheduling GenericWorkload InPlacePodLevelResourcesVerticalScaling
    InPlacePodVerticalScaling InPlacePodVerticalScalingAllocatedStatus InPlacePodVerticalScalingExclusiveCPUs
    MatchLabelKeysInPodAffinity MatchLabelKeysInPodTopologySpread MatchLabelKeysInPodTopologySpreadSelectorMerge
    MinDomainsInPodTopologySpread NodeDeclaredFeatures NodeInclusionPolicyInPodTopologySpread NominatedNodeNameForExpectation
    OpportunisticBatching PDBUnhealthyPodEvictionPolicy PodDisruptionConditions PodLevelResources PodSchedulingReadiness
    SchedulerAsyncAPICalls SchedulerAsyncPreemption SchedulerPopFromBackoffQ SchedulerQueueingHints SidecarContainers
    TaintTolerationComparisonOperators
"""
_DEVICES = """
    DRAAdminAccess DRAConsumableCapacity DRAControlPlaneController DRADeviceBindingConditions DRADeviceTaintRules
    DRADeviceTaints DRAExtendedResource DRAPartitionableDevices DRAPrioritizedList DRAResourceClaimDeviceStatus
    DRASchedulerFilterTimeout DynamicResourceAllocation
"""
_VOLUMES = """
    AnyVolumeDataSource CSIMigrationPortworx CrossNamespaceVolumeDataSource HonorPVReclaimPolicy InTreePluginPortworxUnregister
    MutableCSINodeAllocatableCount PersistentVolumeLastPhaseTransitionTime ReadWriteOncePod RecoverVolumeExpansionFailure
    SELinuxChangePolicy SELinuxMount SELinuxMountReadWriteOncePod StorageCapacityScoring VolumeAttributesClass
    VolumeCapacityPriority VolumeLimitScaling
"""
_EVERY_COMPONENT = """
    APIResponseCompression ClientsAllowCBOR ClientsPreferCBOR ComponentFlagz ComponentSLIs ComponentStatusz ContextualLogging
    CoordinatedLeaderElection InformerResourceVersion LoggingAlphaOptions LoggingBetaOptions
    UnauthenticatedHTTP2DOSMitigation WatchList WatchListClient
"""

KUBE_SCHEDULER = frozenset((_SCHEDULING + _DEVICES + _VOLUMES + _EVERY_COMPONENT).split())
