// SPDX-License-Identifier: GPL-2.0
// The root ports that scripts/boot --untrusted makes lead out of the machine, as a
// Thunderbolt port does: Linux does not trust what is behind them. QEMU has no way to
// say that itself; it calls a device after its slot, S80 the one in slot 0x10.
DefinitionBlock ("", "SSDT", 2, "TEST", "EXTPORTS", 1)
{
	External (\_SB.PCI0, DeviceObj)
	External (\_SB.PCI0.S80, DeviceObj)
	External (\_SB.PCI0.S88, DeviceObj)
	External (\_SB.PCI0.S90, DeviceObj)
	External (\_SB.PCI0.S98, DeviceObj)

	Scope (\_SB.PCI0)
	{
		Name (EXTP, Package () {
			ToUUID ("efcc06cc-73ac-4bc3-bff0-76143807c389"),
			Package () { Package () { "ExternalFacingPort", 1 } }
		})
	}
	If (CondRefOf (\_SB.PCI0.S80)) { Scope (\_SB.PCI0.S80) { Method (_DSD, 0) { Return (EXTP) } } }
	If (CondRefOf (\_SB.PCI0.S88)) { Scope (\_SB.PCI0.S88) { Method (_DSD, 0) { Return (EXTP) } } }
	If (CondRefOf (\_SB.PCI0.S90)) { Scope (\_SB.PCI0.S90) { Method (_DSD, 0) { Return (EXTP) } } }
	If (CondRefOf (\_SB.PCI0.S98)) { Scope (\_SB.PCI0.S98) { Method (_DSD, 0) { Return (EXTP) } } }
}
