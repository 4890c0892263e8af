// Package loop keeps sources, and everything that was applied by hand, as asked: it
// polls and plans each source, applies what changed, repairs what differs, and sends
// commands again that nobody answered. One daemon of several leads; see [Lease].
//
//	wake -> fetch -> read files -> reconcile.PlanOn -> guard -> reconcile.Apply -> status
package loop
