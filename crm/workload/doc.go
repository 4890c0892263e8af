// Package workload is what all drivers of CRMs have in common: what a function of a
// unit amounts to as a container or process, whatever engine it was written for
// ([Of]); names that are safe everywhere ([Name]); secrets from files ([SecretDir]);
// and keeping workloads running: probing, replacing, restarting and backing off
// ([Group]).
package workload
