//! One server under load: every kind of request in turn, in several rounds.

use super::bare::Bare;
use super::load::Sample;
use super::node::{Node, Place, Surroundings};
use super::oauth::World;
use super::report::{Line, Report};
use super::upstream::Upstream;
use super::{Fallible, Kind, Plan, history, tools};

/// What has a rate and latencies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    Bare,
    Refresh,
    Redeem,
    Register,
    Introspect,
    Flow,
    BareProxy,
    ToolsList,
    UpstreamAlone,
    BareProxyAlone,
    ToolsListAlone,
}

impl Load {
    /// In the order of the table: each stands behind what it is compared with.
    const ALL: [Self; 11] = [
        Self::Bare,
        Self::Refresh,
        Self::Redeem,
        Self::Register,
        Self::Introspect,
        Self::Flow,
        Self::BareProxy,
        Self::ToolsList,
        Self::UpstreamAlone,
        Self::BareProxyAlone,
        Self::ToolsListAlone,
    ];

    fn is_wanted(self, plan: &Plan) -> bool {
        let oauth = [
            Kind::Refresh,
            Kind::Redeem,
            Kind::Register,
            Kind::Introspect,
            Kind::Flow,
        ];
        match self {
            Self::Bare => oauth.iter().any(|kind| plan.wants(*kind)),
            Self::Refresh => plan.wants(Kind::Refresh),
            Self::Redeem => plan.wants(Kind::Redeem),
            Self::Register => plan.wants(Kind::Register),
            Self::Introspect => plan.wants(Kind::Introspect),
            Self::Flow => plan.wants(Kind::Flow),
            Self::BareProxy
            | Self::ToolsList
            | Self::UpstreamAlone
            | Self::BareProxyAlone
            | Self::ToolsListAlone => plan.wants(Kind::ToolsList),
        }
    }

    /// What programs call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Refresh => "refresh",
            Self::Redeem => "redeem",
            Self::Register => "register",
            Self::Introspect => "introspect",
            Self::Flow => "flow",
            Self::BareProxy => "bare-proxy",
            Self::ToolsList => "tools-list",
            Self::UpstreamAlone => "upstream-alone",
            Self::BareProxyAlone => "bare-proxy-alone",
            Self::ToolsListAlone => "tools-list-alone",
        }
    }

    /// What people call it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Bare => "bare endpoint, nothing kept",
            Self::Refresh => "refresh",
            Self::Redeem => "redeem a code",
            Self::Register => "register a client",
            Self::Introspect => "introspect",
            Self::Flow => "whole flow: log in, redeem",
            Self::BareProxy => "bare reverse proxy",
            Self::ToolsList => "tools/list through the gateway",
            Self::UpstreamAlone => "tools/list at the MCP server, one at a time",
            Self::BareProxyAlone => "the same through the bare reverse proxy",
            Self::ToolsListAlone => "the same through the gateway",
        }
    }

    /// What it is compared with.
    pub fn baseline(self) -> Option<Self> {
        match self {
            Self::Bare
            | Self::Refresh
            | Self::Redeem
            | Self::Register
            | Self::Introspect
            | Self::Flow => Some(Self::Bare),
            Self::BareProxy | Self::ToolsList => Some(Self::BareProxy),
            Self::UpstreamAlone | Self::BareProxyAlone | Self::ToolsListAlone => None,
        }
    }

    /// How many connections it has.
    pub fn connections(self, plan: &Plan) -> usize {
        match self {
            Self::UpstreamAlone | Self::BareProxyAlone | Self::ToolsListAlone => 1,
            _ => plan.connections,
        }
    }
}

/// Everything that is under load.
struct Stage<'a> {
    plan: &'a Plan,
    /// The first stands for all where one is looked at.
    nodes: Vec<Node>,
    bare: Bare,
    upstream: &'a Upstream,
    world: World,
}

/// Measures whatever of `plan` needs a server under load.
pub(super) async fn measure(
    plan: &Plan,
    surroundings: Surroundings<'_>,
    upstream: &Upstream,
    report: &mut Report,
    tell: &dyn Fn(&str),
) -> Fallible<()> {
    let wanted = Load::ALL.into_iter().filter(|load| load.is_wanted(plan));
    let mut lines: Vec<Line> = wanted.map(Line::new).collect();
    if lines.is_empty() && !plan.wants(Kind::Streams) {
        return Ok(());
    }
    let place = Place::new(surroundings, "load")?;
    if plan.entries > 0 {
        tell("writing a log");
        history::write(&place, surroundings.provider, plan.entries).await?;
    }
    tell("logging people in");
    let node = place.start().await?;
    node.catch_up().await?;
    report.memory_idle(node.memory());
    let mut nodes = vec![node];
    for number in 1..plan.nodes {
        let place = Place::new(surroundings, &format!("load-{number}"))?;
        let another = place.start_beside(&nodes[0]).await?;
        nodes.push(another);
    }
    let mut stage = Stage {
        plan,
        bare: Bare::start(surroundings.placement, &upstream.host)?,
        upstream,
        world: World::open(plan, &nodes, surroundings.provider).await?,
        nodes,
    };
    for round in 0..plan.rounds {
        tell(&format!("round {} of {}", round + 1, plan.rounds));
        let mut order: Vec<&mut Line> = lines.iter_mut().collect();
        // Alternating, so that a drift of the machine favours nobody.
        if round % 2 == 1 {
            order.reverse();
        }
        for line in order {
            stage.nodes[0].catch_up().await?;
            line.samples.push(stage.sample(line.load).await?);
            if round == 0 && line.load == Load::Refresh {
                report.memory_refreshing(stage.nodes[0].memory());
            }
        }
    }
    report.loads(plan, &lines);
    let events = stage.nodes[0].catch_up().await?;
    report.memory_loaded(stage.nodes[0].memory());
    if plan.wants(Kind::Streams) {
        tell("event streams");
        let tokens = stage.world.access_tokens(plan.streams);
        report.streams(&tools::streams(&stage.nodes[0], upstream, &tokens).await?);
    }
    for node in stage.nodes {
        node.stop().await?;
    }
    if plan.wants(Kind::Start) {
        let node = place.start().await?;
        report.started_full(node.started_in, events);
        node.stop().await?;
    }
    Ok(())
}

impl Stage<'_> {
    async fn sample(&mut self, load: Load) -> Fallible<Sample> {
        let Self {
            plan,
            nodes,
            bare,
            upstream,
            world,
        } = self;
        let node = &nodes[0];
        let connections = load.connections(plan);
        match load {
            Load::Bare => world.bare(plan, bare).await,
            Load::Refresh => world.refresh(plan, node).await,
            Load::Redeem => world.redeem(plan, node).await,
            Load::Register => world.register(plan, node).await,
            Load::Introspect => world.introspect(plan, node).await,
            Load::Flow => world.whole_flow(plan, node).await,
            Load::BareProxy | Load::BareProxyAlone => {
                let tokens = world.access_tokens(connections);
                tools::list(plan, bare.process(), &bare.host, "/mcp", &tokens).await
            }
            Load::UpstreamAlone => {
                let tokens = world.access_tokens(connections);
                let here = std::process::id();
                tools::list(plan, here, &upstream.host, "/mcp", &tokens).await
            }
            Load::ToolsList | Load::ToolsListAlone => {
                let tokens = world.access_tokens(connections);
                let path = "/proxy/1/mcp";
                tools::list(plan, node.process(), &node.gateway, path, &tokens).await
            }
        }
    }
}
