// Package deploytest is a fake of the calls of CloudFormation, S3, STS and SQS that package deploy makes, for tests: no stand-in of them can be
// installed. It speaks their wire protocols, so that the real SDK talks to it, and refuses what AWS would refuse: unsigned requests, templates whose
// references lead nowhere, parameters that are unknown, missing or not allowed, missing capabilities, code that is not in its bucket.
//
// It creates nothing: resources only change their status.
package deploytest
