"""Words that make a headline about markets good or bad news, and how much."""

from typing import Final

_WORDS: Final = """
+3 surge soar skyrocket rocket moon boom rally breakout bullish rebound outperform triumph windfall
+3 unbanned acquitted exonerated
+2 rise jump climb gain advance spike leap recover recovery recoup boost bounce uptrend upswing
+2 grow growth expand expansion accelerate adopt adoption approve approval greenlight win victory
+2 success successful succeed profit profitable profitability upgrade optimistic optimism positive
+2 strong strength strengthen robust favorable favourable accumulate accumulation inflow upside
+2 bull buoyant thrive flourish milestone breakthrough partner partnership collaborate integrate
+2 integration dovish stimulus uplift revive revival resurgence resilient resilience comeback
+2 embrace endorse dismissed overturn vindicate legalize legalise beat exceed surpass outpace
+2 oversubscribed unveil backed flip reclaim undervalued momentum euphoria hodl reserve lucrative
+2 rose risen grew grown won
+1 up higher high increase increased add launch support invest investment investor fund funding
+1 raise raised buy bought buyer purchase acquire acquisition deploy list listing enable improve
+1 improvement innovation innovate innovative opportunity confidence confident hope hopeful stable
+1 steady stabilize stabilise progress demand interest popular popularity benefit reward secure
+1 safer faster efficient clarity compliant regulated license licence mainstream institutional
+1 allow attract promise promising potential airdrop burn halving staking eases ease relief calm
+1 welcome praise top best leading leader lead record pump green mint upgradeable scalable win-win
+1 donate hit reach cross double triple earn yield settle rebrand onboard expandable built build
-3 crash plunge collapse plummet meltdown bankrupt bankruptcy insolvent insolvency hack hacked
-3 hacker hacks exploit theft steal stole stolen fraud fraudulent scam ponzi rug rugged crisis
-3 catastrophe catastrophic bearish capitulate capitulation selloff sell-off bloodbath carnage
-3 wipeout indicted indictment arrest arrested convicted guilty default depeg depegs depegged
-3 tumble nosedive scandal contagion launder laundering terrorist terrorism rout freefall free-fall
-3 death ransomware phishing
-2 fall drop decline slump slide sink dip lose loss losing lost decrease shrink slip slid sank fell
-2 fallen dropped tank tanked dump dumped downtrend downturn recession fear panic worry worries
-2 anxiety uncertainty uncertain negative weak weakness weaken pessimistic pessimism sue sued
-2 lawsuit probe investigate investigation allege allegation accuse accused charge charged
-2 crackdown ban banned illegal illicit prohibit restrict restriction reject rejection deny denied
-2 delay halt halted suspend suspension freeze froze frozen liquidate liquidation outflow downgrade
-2 warn warning risk risky threat threaten attack attacker breach vulnerability vulnerable outage
-2 glitch fail failed failure layoff layoffs bear bubble overvalued manipulation manipulate penalty
-2 fine fined subpoena seize seized sanction sanctioned hawkish inflation underperform struggle
-2 stumble suffer plagued turmoil trouble troubled dispute drain drained victim criminal crime
-2 prison jail jailed sentenced rejects delist delisted delisting withdraw shutdown shutter exodus
-2 distress distressed disaster bleak grim dire worst hurt harm damage damaging loses loser evade
-2 evasion deepfake impostor crashing bleed bleeding wane plead pleaded misled mislead fake
-2 unregistered violate violation
-1 down lower low cut cutting slow slowdown sluggish volatile volatility concern concerned caution
-1 cautious doubt skeptic skeptical sceptical criticize criticise critic criticism critical sell
-1 sold seller short pressure resistance correction pullback retreat retrace cool fade struggles
-1 bad poor difficult difficulty hard problem issue challenge oppose opposition tax scrutiny
-1 regulatory unlock dilute dilution expire debt owe miss missed tension war tariff uncertainly
-1 ditch abandon leave quit resign resigned step-down stagnate flat bottom blame against despite
-1 unclear limit wallet-drainer complaint divest hike wrong cancel cancelled canceled postpone
"""

_PHRASES: Final = """
+3 all-time high|all time high|record high|short squeeze|golden cross|parabolic run|price discovery
+3 etf approval|approves etf|charges dropped|case dismissed|lawsuit dismissed|drops lawsuit
+2 new high|buy the dip|buys the dip|rate cut|rate cuts|cuts rates|exchange outflows|risk on
+2 risk-on|legal tender|strategic reserve|shorts liquidated|short liquidations|soft landing
+2 higher low|drops case|drops charges|drops investigation|end of the bear|lifts ban|removes ban
+2 ends ban|supply shock|losses narrow|fears ease|outflows slow|inflation cools|inflation eases
+2 upside breakout
-3 all-time low|all time low|record low|rug pull|rug pulls|rugpull|death cross|bank run|flash crash
-3 long squeeze|files for bankruptcy|chapter 11|exit scam|money laundering|dead cat bounce
-3 death spiral
-2 pump and dump|rate hike|rate hikes|raises rates|exchange inflows|bull trap|sell the news
-2 steps down|sell signal|risk off|risk-off|class action|wells notice|halts withdrawals
-2 pauses withdrawals|hit by|longs liquidated|long liquidations|lower low|loses support
-2 below support|bear market|at a loss|security incident|private key leak|under fire
-2 cease and desist|token unlock|gains fade|gives up|loses steam|wipes out|wiped out|hits snag
-2 goes dark|profit taking|profit-taking|hard landing|record high inflation
0 stop loss|take profit|high court|high school|high frequency|supreme court|short term|short-term
0 long term|long-term|top 10|top 5|record date|interest rate|interest rates|support team|hard fork
0 lead to|high-speed|risk management|low fees|lower fees|sell side|in the red sea|war room
"""

_NEGATION_WORDS: Final = """
not no never without neither nor cannot unlikely denies refutes avoid avoids avoided isn't won't
doesn't don't didn't can't prevents averts stops
"""
NEGATIONS: Final = frozenset(_NEGATION_WORDS.split())
"""Words that turn around what follows within three words."""

_RELIEF_WORDS: Final = """
win wins won dismiss dismisses dismissed lift lifts lifted end ends ended settle settles settled
beat beats survive survives survived overturn overturns overturned cleared resolve resolves resolved
"""
_BURDEN_WORDS: Final = """
lawsuit lawsuits suit charge charges case probe investigation ban sanctions appeal allegations
crackdown dispute halt outage
"""
RELIEFS: Final = frozenset(_RELIEF_WORDS.split())
BURDENS: Final = frozenset(_BURDEN_WORDS.split())
"""Bad news that is good news with one of the reliefs before or behind it."""

STRENGTHS: Final = {
    **dict.fromkeys(("sharply", "massive", "massively", "huge", "hugely", "heavily", "major"), 1.4),
    **dict.fromkeys(
        ("extremely", "biggest", "largest", "explosive", "dramatic", "unprecedented"), 1.5
    ),
    **dict.fromkeys(("strongly", "significantly", "very", "deep", "steep", "severe", "worst"), 1.3),
    **dict.fromkeys(("slightly", "slight", "modest", "modestly", "somewhat", "marginally"), 0.5),
    **dict.fromkeys(("may", "might", "could", "possible", "possibly", "potentially", "if"), 0.6),
    **dict.fromkeys(("despite", "amid", "although", "while", "after", "following"), 0.6),
}
"""Words that make what follows within three words stronger or weaker."""

KNOWLEDGE_CUTOFF: Final = "2026-11-01"
"""Date of this choice of words. Scores before this date use words chosen with hindsight."""


def table(lines: str, separator: str | None = None) -> dict[str, float]:
    """Return a weight for each entry of lines such as ``+2 rise jump``."""
    weights = dict[str, float]()
    for line in lines.strip().splitlines():
        weight, rest = line.split(" ", 1)
        weights |= dict.fromkeys(rest.split(separator), float(weight))
    return weights


WEIGHTS: Final = table(_WORDS)
"""Weight of each word, -3 (very bad) to +3 (very good)."""

PHRASES: Final = table(_PHRASES, "|")
"""Weight of groups of words that mean something else than their parts."""
