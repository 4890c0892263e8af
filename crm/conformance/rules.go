package conformance

import "context"

// A rule is one thing that CRMs do. Each is tried on a unit of its own.
type rule struct {
	name     string
	section  string // anchor in docs/protocol.md
	says     string
	must     bool
	restarts bool // needs to start and stop the CRM
	check    func(*suite, context.Context) (seen string, err error)
}

var rules = []rule{
	{"join", "sequences", "joins group crm of the command stream", true, false, (*suite).checkJoin},
	{"heartbeat", "reports", "sends a heartbeat from the first moment, and one every 5 s", true, false, (*suite).checkHeartbeat},
	{"deploy", "rules", "deploys a unit and reports RUNNING", true, false, (*suite).checkDeploy},
	{"url", "reports", "reports of each function that runs where it can be called", true, false, (*suite).checkURL},
	{"static-url", "commands", "starts nothing for a function with a staticUrl, and reports it RUNNING there", true, false, (*suite).checkStaticURL},
	{"deploying", "rules", "reports DEPLOYING while it works", false, false, (*suite).checkDeploying},
	{"echo", "reports", "echoes generation and specHash of what it carries out", true, false, (*suite).checkEcho},
	{"ack-last", "rules", "acknowledges after it reported, not before", true, false, (*suite).checkAckLast},
	{"refused", "rules", "sends reports again that Redis refused", true, false, (*suite).checkRefused},
	{"repeat", "rules", "absorbs a repeated command: nothing is restarted", true, false, (*suite).checkRepeat},
	{"newer", "rules", "carries a newer generation out in place of the older", true, false, (*suite).checkNewer},
	{"older", "rules", "drops an older generation", true, false, (*suite).checkOlder},
	{"undeploy", "rules", "undeploys by the unit's id, reports DELETED, deploys again", true, false, (*suite).checkUndeploy},
	{"malformed", "dead-letters", "puts what it cannot understand into dead, with a reason, and goes on", true, false, (*suite).checkMalformed},
	{"forged", "rules", "refuses a command that the unit's record does not bear out", false, false, (*suite).checkForged},
	{"environment", "questions-and-answers", "gives the workload the environment of provision and config; config wins", true, false, (*suite).checkEnvironment},
	{"peers", "questions-and-answers", "takes other peers up without a restart of the workload", false, false, (*suite).checkPeers},
	{"heartbeat-deploying", "rules", "sends heartbeats while it deploys", true, false, (*suite).checkHeartbeatDeploying},
	{"fresh", "rules", "keeps a command fresh while it works on it", true, false, (*suite).checkFresh},
	{"abandoned", "rules", "takes over commands that a dead colleague left, at any time", true, false, (*suite).checkAbandoned},
	{"reread", "questions-and-answers", "reads the records every 30 s: a restored Redis has other ones, and says nothing", true, false, (*suite).checkReread},
	{"unread", "while-nobody-reads", "says nothing again while nobody reads, and goes on when somebody does", false, false, (*suite).checkUnread},
	{"records", "sequences", "reads the records at its start: deploys what should run", true, true, (*suite).checkRecords},
	{"records-gone", "sequences", "reads the records at its start: reports what should not run as DELETED", true, true, (*suite).checkRecordsGone},
	{"own-backlog", "rules", "finishes what it had read before it stopped", true, true, (*suite).checkBacklog},
	{"loss", "rules", "joins again when Redis has lost its data, and believes a generation that begins again at 1", true, false, (*suite).checkLoss},
	{"loss-keeps", "rules", "keeps what runs when Redis has lost its data", true, false, (*suite).checkLossKeeps},
	{"identity", "questions-and-answers", "deploys another specHash under the same generation, and reports what runs", true, false, (*suite).checkIdentity},
	{"well-formed", "reports", "writes reports that can be understood", true, false, (*suite).checkWellFormed},
}
