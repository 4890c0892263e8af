// Package crm is for those who write a Class Runtime Manager: the part that turns
// deployment units into workloads in one environment, and reports on them.
//
// A CRM is a [Handler] and a call of [Run]:
//
//	commands stream ──► Run ──► Handler.Deploy / Undeploy
//	unit records    ──►  │
//	                     ├──► reports: DEPLOYING, RUNNING, DOWN, DELETED
//	                     └──► heartbeats
//
// Run keeps the protocol (docs/protocol.md): it joins the environment's group,
// reads the records first and makes the world like them, absorbs repeated and
// late commands, reports, acknowledges last, shares the units with colleagues,
// takes over from those that died, survives the loss of Redis and of all its
// data, and drains when its context ends. The handler deploys and undeploys.
package crm
